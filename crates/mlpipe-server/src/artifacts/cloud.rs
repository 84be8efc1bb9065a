//! Which bucket a URI names. Credentials and endpoints come from the environment variables that the clouds' own programs read,
//! so that none stands in a command line.

use std::sync::Arc;
use std::time::Duration;

use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::Place;
use super::bucket::Bucket;

/// Opens the bucket that a URI names; none when this build does not have the `feature` of its kind.
///
/// # Errors
/// In words, when the URI names no bucket or the bucket does not answer.
pub(crate) fn open(feature: &str, uri: &str) -> Option<Result<Place, String>> {
    let open: fn(&BucketAddress) -> Opened = match feature {
        #[cfg(feature = "s3")]
        "s3" => s3,
        #[cfg(feature = "gcs")]
        "gcs" => gcs,
        #[cfg(feature = "azure")]
        "azure" => azure,
        _ => return None,
    };
    Some(BucketAddress::parse(uri).and_then(|address| open_with(open, &address)))
}

fn open_with(open: fn(&BucketAddress) -> Opened, address: &BucketAddress) -> Result<Place, String> {
    // reqwest, which object_store calls the clouds with, takes the provider of the process.
    // Somebody may have chosen one already, which is as good.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let store = open(address).map_err(|error| error.to_string())?;
    let bucket = Bucket::new(store, &address.prefix).map_err(|error| format!("a runtime for it: {error}"))?;
    bucket.check().map_err(|error| with_causes(&error))?;
    Ok(Place::Bucket(Arc::new(bucket)))
}

/// The parts of `scheme://bucket[@host]/prefix`.
#[derive(Debug, PartialEq, Eq)]
struct BucketAddress {
    bucket: String,
    /// Of Azure the account, where the URI names one.
    host: Option<String>,
    prefix: String,
}

impl BucketAddress {
    fn parse(uri: &str) -> Result<Self, String> {
        let (_, rest) = uri.split_once("://").ok_or("it is not a URI")?;
        if rest.contains(['?', '#']) {
            return Err("it may not have a query or fragment".to_owned());
        }
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, host) = match authority.split_once('@') {
            Some((bucket, host)) => (bucket, Some(host.to_owned())),
            None => (authority, None),
        };
        if bucket.is_empty() {
            return Err("it names no bucket".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), host, prefix: prefix.trim_matches('/').to_owned() })
    }
}

type Opened = object_store::Result<Arc<dyn ObjectStore>>;

/// Waiting longer than this for the next bytes is giving up; there is no limit on a whole file.
const SILENCE: Duration = Duration::from_secs(60);

/// Clients wait for the answer, and try again themselves.
fn retries() -> RetryConfig {
    let retry_timeout = Duration::from_secs(15);
    RetryConfig { max_retries: 4, retry_timeout, ..Default::default() }
}

fn client() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE)
}

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` or MLflow's
/// `MLFLOW_S3_ENDPOINT_URL`; on AWS's machines also the roles of machine, container or web identity.
#[cfg(feature = "s3")]
fn s3(address: &BucketAddress) -> Opened {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&address.bucket).with_retry(retries());
    if let Ok(endpoint) = std::env::var("MLFLOW_S3_ENDPOINT_URL") {
        builder = builder.with_endpoint(endpoint);
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    // Whoever writes http:// into an endpoint means it.
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    Ok(Arc::new(builder.with_client_options(client().with_allow_http(is_plain)).build()?))
}

/// `GOOGLE_APPLICATION_CREDENTIALS` or `GOOGLE_SERVICE_ACCOUNT_KEY`; on Google's machines also the machine's account.
#[cfg(feature = "gcs")]
fn gcs(address: &BucketAddress) -> Opened {
    let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_bucket_name(&address.bucket);
    Ok(Arc::new(builder.with_retry(retries()).with_client_options(client()).build()?))
}

/// `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`, or the variables of a service principal; the account may also stand
/// in the URI, `wasbs://container@account.blob.core.windows.net/prefix`.
#[cfg(feature = "azure")]
fn azure(address: &BucketAddress) -> Opened {
    let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_container_name(&address.bucket);
    if let Some(account) = address.host.as_deref().and_then(|host| host.split('.').next()) {
        builder = builder.with_account(account);
    }
    Ok(Arc::new(builder.with_retry(retries()).with_client_options(client()).build()?))
}

/// What failed and why; object_store's own message may leave out the cause.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_bucket_and_perhaps_a_prefix() {
        let address = |uri: &str| BucketAddress::parse(uri).map(|a| (a.bucket, a.host, a.prefix));
        let plain = |bucket: &str, prefix: &str| Ok((bucket.to_owned(), None, prefix.to_owned()));
        assert_eq!(address("s3://bucket"), plain("bucket", ""));
        assert_eq!(address("s3://bucket/a/b/"), plain("bucket", "a/b"));
        let azure = address("wasbs://c@account.blob.core.windows.net/p").expect("an address");
        assert_eq!(azure, ("c".to_owned(), Some("account.blob.core.windows.net".to_owned()), "p".to_owned()));
        for uri in ["s3://", "s3:///prefix", "s3://bucket/a?versionId=1"] {
            assert!(address(uri).is_err(), "{uri}");
        }
    }
}
