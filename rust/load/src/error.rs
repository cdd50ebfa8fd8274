//! Why an operation failed.

use std::io;

/// A kind of failure. Reports count failures by its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A response with an unexpected status, and the start of its body.
    #[error("{0}")]
    Status(u16, String),
    /// The server does not accept connections, or its name has no address.
    #[error("no connection")]
    NotConnected(String),
    /// The connection ended or failed before the response was complete.
    #[error("connection lost")]
    Lost(String),
    /// No data could be received or sent for too long.
    #[error("timeout")]
    Timeout,
    /// The peer does not speak HTTP/1.1.
    #[error("bad response")]
    BadResponse(String),
    /// The body does not match its digest.
    #[error("wrong content")]
    WrongContent,
    /// A Location on another server.
    #[error("bad Location")]
    BadLocation(String),
}

impl Failure {
    /// Details for the user; "" if there are none.
    pub fn detail(&self) -> &str {
        match self {
            Self::Status(_, text)
            | Self::NotConnected(text)
            | Self::Lost(text)
            | Self::BadResponse(text)
            | Self::BadLocation(text) => text,
            Self::Timeout | Self::WrongContent => "",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Timeout } else { Self::Lost(error.to_string()) }
    }
}
