//! Where a stack listens: all ports are bound before anything starts, for this machine only unless told
//! otherwise.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::TcpListener;

use crate::stripe::Stripe;

/// Only this machine reaches it: the issuer gives tokens to anybody.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error(
    "port {port} of {host} for {part} cannot be used ({source}): stop what uses it, or add --free-ports"
)]
pub struct Error {
    host: IpAddr,
    port: u16,
    part: &'static str,
    source: std::io::Error,
}

/// Ports to listen at; 0 takes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// API gateway and pages.
    pub gateway: u16,
    /// DynamoDB.
    pub dynamodb: u16,
    /// OpenID Connect issuer.
    pub issuer: u16,
    /// Stripe sandbox.
    pub sandbox: u16,
}

impl Ports {
    /// The ports that the documentation speaks of.
    pub const FIXED: Self = Self {
        gateway: 3000,
        dynamodb: 8000,
        issuer: 9000,
        sandbox: 12111,
    };
    /// Free ports.
    pub const FREE: Self = Self {
        gateway: 0,
        dynamodb: 0,
        issuer: 0,
        sandbox: 0,
    };
}

/// Base addresses of a running stack, without a slash at the end.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// API gateway and pages.
    pub gateway: String,
    /// DynamoDB.
    pub dynamodb: String,
    /// OpenID Connect issuer.
    pub issuer: String,
    /// Stripe sandbox, when it is used.
    pub sandbox: Option<String>,
}

pub(crate) struct Listeners {
    pub(crate) gateway: TcpListener,
    pub(crate) dynamodb: TcpListener,
    pub(crate) issuer: TcpListener,
    pub(crate) sandbox: Option<TcpListener>,
}

impl Listeners {
    pub(crate) async fn bind(host: IpAddr, ports: Ports, stripe: &Stripe) -> Result<Self, Error> {
        Ok(Self {
            gateway: bind("the API gateway", host, ports.gateway).await?,
            dynamodb: bind("DynamoDB", host, ports.dynamodb).await?,
            issuer: bind("the issuer", host, ports.issuer).await?,
            sandbox: match stripe {
                Stripe::Sandbox => Some(bind("the Stripe sandbox", host, ports.sandbox).await?),
                Stripe::TestMode { .. } => None,
            },
        })
    }

    pub(crate) fn addresses(&self) -> Result<Addresses, Error> {
        Ok(Addresses {
            gateway: address("the API gateway", &self.gateway)?,
            dynamodb: address("DynamoDB", &self.dynamodb)?,
            issuer: address("the issuer", &self.issuer)?,
            sandbox: self
                .sandbox
                .as_ref()
                .map(|listener| address("the Stripe sandbox", listener))
                .transpose()?,
        })
    }
}

async fn bind(part: &'static str, host: IpAddr, port: u16) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind((host, port)).await;
    bound.map_err(|source| Error {
        host,
        port,
        part,
        source,
    })
}

fn address(part: &'static str, listener: &TcpListener) -> Result<String, Error> {
    let address = listener.local_addr().map_err(|source| Error {
        host: LOCALHOST,
        port: 0,
        part,
        source,
    })?;
    Ok(format!("http://localhost:{}", address.port()))
}
