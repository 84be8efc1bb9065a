//! `mlpipe server`: serves the state directory to other machines.

use std::net::{IpAddr, SocketAddr};

use mlpipe_server::{ServerOptions, serve};

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Arguments of `mlpipe server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address to listen on; other machines reach only an address that is not the loopback's
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 5000)]
    port: u16,

    /// Names by which requests may call this server, beside localhost and the address
    #[arg(long, value_delimiter = ',')]
    allowed_hosts: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let options = ServerOptions {
        state_directory: state::open()?.root().to_owned(),
        address: SocketAddr::new(arguments.host, arguments.port),
        allowed_hosts: arguments.allowed_hosts.clone(),
    };
    let ready = |address: SocketAddr| {
        text::line(&format!("http://{address}/cache"));
        if !address.ip().is_loopback() {
            text::error_line("warning: anybody who reaches this address can read and add finished work");
        }
    };
    serve(&options, ready).map_err(|error| Failure::new(Exit::StoreUnavailable, error))?;
    Ok(Exit::Ok)
}
