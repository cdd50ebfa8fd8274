//! Why a request failed: what a message may repeat of it, and no more.

use object_store::client::{HttpError, HttpErrorKind};

/// The most bytes of a code of the store that a message repeats.
const LONGEST_CODE: usize = 64;

/// Why the last request failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The store answered with an error.
    Status { status: u16, code: Option<String> },
    /// There was no complete answer.
    Broken { cause: String, heals: bool },
}

impl Failure {
    /// The failure of a request that the store has answered with an error `document`.
    pub(crate) fn answered(status: u16, document: &[u8]) -> Self {
        Self::Status { status, code: code(document) }
    }

    /// The failure of a request that has no answer, or only a part of it.
    pub(crate) fn of(error: &HttpError) -> Self {
        let what = match error.kind() {
            HttpErrorKind::Connect => "cannot connect to the store",
            HttpErrorKind::Timeout => "the store does not answer in time",
            HttpErrorKind::Request | HttpErrorKind::Interrupted => "the connection to the store broke",
            _ => "the request failed",
        };
        // Only the innermost error: it comes from the system, the resolver or TLS, and these know no URL.
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let heals = !matches!(error.kind(), HttpErrorKind::Unknown);
        Self::Broken { cause: format!("{what}: {innermost}"), heals }
    }
}

/// The code in an error document of a store: `<Error><Code>NoSuchKey</Code>...`.
fn code(document: &[u8]) -> Option<String> {
    let document = std::str::from_utf8(document).ok()?;
    let (_, rest) = document.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}
