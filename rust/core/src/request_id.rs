//! What a request is called in logs and answers: what its client calls it, or a number of our own.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest name of a client's that is taken over, in bytes; it is repeated in every log line.
const MAX_SIZE: usize = 128;

/// Names for requests, counted from 1.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    given: AtomicU64,
}

impl RequestIds {
    /// Those of this server begin with `prefix`.
    pub fn new(prefix: String) -> Self {
        Self { prefix, given: AtomicU64::new(0) }
    }

    /// The name of a request with this X-Request-Id, or with none.
    pub fn of<'a>(&self, header: Option<&'a [u8]>) -> Cow<'a, str> {
        header.and_then(repeatable).map_or_else(|| self.next().into(), Cow::from)
    }

    fn next(&self) -> String {
        format!("{}-{}", self.prefix, self.given.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Short and printable: anything else could forge what it stands in.
fn repeatable(header: &[u8]) -> Option<&str> {
    let fits = (1..=MAX_SIZE).contains(&header.len()) && header.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if fits { std::str::from_utf8(header).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_repeated_is_and_the_rest_is_counted() {
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
