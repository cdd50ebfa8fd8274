//! The server to measure: its addresses, and connections to it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use crate::error::Failure;

/// Timeout of each read and write, after which a request counts as failed.
const IO_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of a connection attempt, and of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A server. Its name is resolved once.
pub struct Origin {
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// `host` or `host:port`, as in the URL.
    pub(crate) authority: String,
}

impl Origin {
    /// Resolve the name of a server.
    ///
    /// Its certificate is verified with the root certificates of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// # Errors
    /// The name has no address or is malformed, or the system has no root certificates.
    pub fn new(host: &str, port: u16, authority: &str, https: bool) -> io::Result<Self> {
        let addresses = (host, port).to_socket_addrs()?.collect();
        let tls = if https { Some((connector()?, server_name(host)?)) } else { None };
        Ok(Self { addresses, tls, authority: authority.to_owned() })
    }

    pub(crate) async fn connect(&self) -> Result<Stream, Failure> {
        let plain = self.tcp().await?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Stream::Plain(plain));
        };
        match timeout(CONNECT_TIMEOUT, connector.connect(name.clone(), plain)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(Failure::NotConnected(error.to_string())),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Connect to the first address that accepts the connection.
    async fn tcp(&self) -> Result<TcpStream, Failure> {
        let mut failure = Failure::NotConnected("the name has no address".into());
        for address in &self.addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = Failure::NotConnected(error.to_string()),
                Err(_) => failure = Failure::Timeout,
            }
        }
        Err(failure)
    }
}

fn connector() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(io::Error::other(
            "the system has no root certificates to verify the server with: set SSL_CERT_FILE",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A connection with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = async {
            match self {
                Self::Plain(stream) => stream.read(buffer).await,
                Self::Tls(stream) => stream.read(buffer).await,
            }
        };
        timeout(IO_TIMEOUT, read).await?
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            match self {
                Self::Plain(stream) => stream.write_all(bytes).await,
                Self::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        timeout(IO_TIMEOUT, write).await?
    }
}
