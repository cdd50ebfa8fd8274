//! Request IDs for logs and responses: the ID of the client, or a generated one.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest ID of a client that is used, in bytes. It is in every log line of the request.
const MAX_SIZE: usize = 128;

/// Generates request IDs, which are counted from 1.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    given: AtomicU64,
}

impl RequestIds {
    /// Generated IDs start with `prefix`.
    pub fn new(prefix: String) -> Self {
        Self { prefix, given: AtomicU64::new(0) }
    }

    /// The ID of a request with or without an X-Request-Id.
    pub fn of<'a>(&self, header: Option<&'a [u8]>) -> Cow<'a, str> {
        header.and_then(repeatable).map_or_else(|| self.next().into(), Cow::from)
    }

    fn next(&self) -> String {
        format!("{}-{}", self.prefix, self.given.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The ID if it is short and printable. Any other could forge log lines or headers.
fn repeatable(header: &[u8]) -> Option<&str> {
    let fits = (1..=MAX_SIZE).contains(&header.len()) && header.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if fits { std::str::from_utf8(header).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_used_if_printable_and_short() {
        let ids = RequestIds::new("me".into());
        let longest = [b'x'; MAX_SIZE];
        for name in [&b"a"[..], b" a b~", &longest] {
            assert_eq!(ids.of(Some(name)).as_bytes(), name);
        }
        assert_eq!(ids.of(None), "me-1");
        for (number, name) in
            [&b""[..], b"a\n", b"\x7f", b"\xff", "é".as_bytes(), &[b'x'; MAX_SIZE + 1]].iter().enumerate()
        {
            assert_eq!(ids.of(Some(name)), format!("me-{}", number + 2));
        }
    }
}
