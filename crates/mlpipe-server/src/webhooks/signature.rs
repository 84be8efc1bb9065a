//! How a delivery is signed: HMAC-SHA256 (RFC 2104) over `DELIVERY_ID.TIMESTAMP.BODY`, written `v1,BASE64`, as MLflow does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// Returns the value of the header `X-MLflow-Signature`.
pub(super) fn signature(secret: &str, delivery_id: &str, timestamp: &str, body: &str) -> String {
    let content = format!("{delivery_id}.{timestamp}.{body}");
    format!("v1,{}", STANDARD.encode(hmac_sha256(secret.as_bytes(), content.as_bytes())))
}

fn hmac_sha256(key: &[u8], content: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(content).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::hex;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
