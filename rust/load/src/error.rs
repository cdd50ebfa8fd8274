//! Why an operation did not succeed.

use std::io;

/// What a report counts failures by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An answer with another status than was asked for, and the beginning of its body.
    #[error("{0}")]
    Status(u16, String),
    /// Nothing listens, or the name has no address.
    #[error("no connection")]
    NotConnected(String),
    /// The connection ended, or failed, before the answer was whole.
    #[error("broken off")]
    Broken(String),
    /// Nothing came, or could be sent, for too long.
    #[error("timeout")]
    Timeout,
    /// The peer does not speak HTTP/1.1.
    #[error("bad answer")]
    BadAnswer(String),
    /// The body is not what its digest says.
    #[error("wrong content")]
    WrongContent,
    /// An upload without a Location to go on at, or with one elsewhere.
    #[error("bad Location")]
    BadLocation(String),
}

impl Failure {
    /// What is known beyond the kind, for people.
    pub fn detail(&self) -> &str {
        match self {
            Self::Status(_, text)
            | Self::NotConnected(text)
            | Self::Broken(text)
            | Self::BadAnswer(text)
            | Self::BadLocation(text) => text,
            Self::Timeout | Self::WrongContent => "",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Timeout } else { Self::Broken(error.to_string()) }
    }
}
