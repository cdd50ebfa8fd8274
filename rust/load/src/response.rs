//! Parses responses: the head, and the framing of the body.

use crate::error::Failure;

/// Maximum number of headers of a response.
const MAX_HEADERS: usize = 64;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    ToTheEnd,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Size of the head in bytes.
    pub(crate) size: usize,
    pub(crate) framing: Framing,
    pub(crate) location: Option<String>,
    /// Whether the server closes the connection after this response.
    pub(crate) closes: bool,
}

impl Head {
    /// Parse the head at the start of `bytes`. None if it is incomplete.
    pub(crate) fn parse(bytes: &[u8], method: &str) -> Result<Option<Self>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let size = match response.parse(bytes) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Failure::BadResponse(error.to_string())),
        };
        let status = response.code.unwrap_or(0);
        let mut head =
            Self { status, size, framing: Framing::ToTheEnd, location: None, closes: response.version == Some(0) };
        for header in response.headers.iter() {
            head.take(header)?;
        }
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            head.framing = Framing::Length(0);
        } else if head.framing == Framing::ToTheEnd {
            head.closes = true;
        }
        Ok(Some(head))
    }

    fn take(&mut self, header: &httparse::Header<'_>) -> Result<(), Failure> {
        let text = || std::str::from_utf8(header.value).unwrap_or("").trim();
        // The length of the name distinguishes most headers without a comparison.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") && self.framing != Framing::Chunked => {
                let length =
                    text().parse().map_err(|_| Failure::BadResponse("Content-Length is not a number".into()))?;
                self.framing = Framing::Length(length);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => self.framing = Framing::Chunked,
            10 if header.name.eq_ignore_ascii_case("connection") => {
                self.closes = text().eq_ignore_ascii_case("close");
            }
            8 if header.name.eq_ignore_ascii_case("location") => self.location = Some(text().to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// Decodes the chunked coding of a body that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the start of the line with the size of a chunk.
    #[default]
    Start,
    Size(u64),
    /// After the size, in the rest of its line.
    Extension(u64),
    Data(u64),
    /// In the line break after a chunk.
    AfterData,
    /// In the lines after the last chunk. The value says whether the current line has any characters.
    Trailer(bool),
    Done,
}

impl Chunks {
    /// Decode a piece, and call `content` with the content in it. Returns true at the end of the body.
    pub(crate) fn take(&mut self, mut piece: &[u8], mut content: impl FnMut(&[u8])) -> Result<bool, Failure> {
        while let [byte, rest @ ..] = piece {
            if let State::Data(left) = self.state {
                let size = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
                content(&piece[..size]);
                piece = &piece[size..];
                self.state = if left == size as u64 { State::AfterData } else { State::Data(left - size as u64) };
                continue;
            }
            self.state = self.after(*byte)?;
            piece = rest;
        }
        Ok(self.state == State::Done)
    }

    fn after(&self, byte: u8) -> Result<State, Failure> {
        let wrong = || Failure::BadResponse("malformed chunk".into());
        Ok(match (self.state, byte) {
            (State::Size(0) | State::Extension(0), b'\n') => State::Trailer(false),
            (State::Size(size) | State::Extension(size), b'\n') => State::Data(size),
            (State::Size(size), b';' | b' ' | b'\r') | (State::Extension(size), _) => State::Extension(size),
            (State::Start, _) => State::Size(hex(byte).ok_or_else(wrong)?),
            (State::Size(size), _) if size < 1 << 56 => State::Size(size << 4 | hex(byte).ok_or_else(wrong)?),
            (State::AfterData, b'\r') => State::AfterData,
            (State::AfterData, b'\n') => State::Start,
            (State::Trailer(false), b'\n') => State::Done,
            (State::Trailer(_), b'\n') => State::Trailer(false),
            (State::Trailer(some), b'\r') => State::Trailer(some),
            (State::Trailer(_), _) => State::Trailer(true),
            _ => return Err(wrong()),
        })
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, method: &str) -> Head {
        Head::parse(text.as_bytes(), method).expect("a response").expect("complete")
    }

    #[test]
    fn framing_of_bodies() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", "GET", Framing::Length(12), false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", "HEAD", Framing::Length(0), false),
            ("HTTP/1.1 204 No\r\n\r\n", "DELETE", Framing::Length(0), false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Framing::Chunked, false),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                "GET",
                Framing::Chunked,
                false,
            ),
            ("HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 0\r\n\r\n", "GET", Framing::Length(0), true),
            ("HTTP/1.1 200 OK\r\n\r\n", "GET", Framing::ToTheEnd, true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "GET", Framing::Length(1), true),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
                "GET",
                Framing::Length(1),
                false,
            ),
        ];
        for (text, method, framing, closes) in cases {
            let head = head(text, method);
            assert_eq!((head.framing, head.closes, head.size), (framing, closes, text.len()), "{text}");
        }
    }

    #[test]
    fn incomplete_heads_and_other_protocols() {
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-", "GET"), Ok(None));
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n\r\n", "GET").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "GET").is_err());
    }

    #[test]
    fn a_location_is_read() {
        let head = head("HTTP/1.1 202 A\r\nLocation:  /v2/x \r\nContent-Length: 0\r\n\r\n", "POST");
        assert_eq!((head.status, head.location.as_deref()), (202, Some("/v2/x")));
    }

    #[test]
    fn chunks_in_pieces_of_every_size() {
        let body = b"4\r\nWiki\r\n1a;ext=1\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: a\r\n\r\n";
        for size in 1..=body.len() {
            let (mut chunks, mut content, mut ended) = (Chunks::default(), Vec::new(), false);
            for piece in body.chunks(size) {
                assert!(!ended);
                ended = chunks.take(piece, |bytes| content.extend_from_slice(bytes)).expect("valid");
            }
            assert!(ended, "{size}");
            assert_eq!(content, b"Wikiabcdefghijklmnopqrstuvwxyz");
        }
    }

    #[test]
    fn a_chunk_without_a_size_is_an_error() {
        for body in [&b"\r\n"[..], b"x\r\n", b"4\r\nWikix", b"fffffffffffffffffffff\r\n"] {
            assert!(Chunks::default().take(body, |_| {}).is_err(), "{body:?}");
        }
    }
}
