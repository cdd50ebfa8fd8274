//! The connection of one client: it sends a request and reads the response, one after another.

use std::hint::black_box;
use std::sync::Arc;

use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::hash::Hasher;

use crate::content::Pieces;
use crate::error::Failure;
use crate::origin::{Origin, Stream};
use crate::response::{Chunks, Framing, Head};
use crate::step::{Body, Step};

/// Maximum number of bytes per read.
const READ_SIZE: usize = 256 << 10;

/// Largest body, in bytes, that is sent in one write with the head.
const SMALL: u64 = 64 << 10;

/// Bytes of an unexpected response that are kept for the report.
const EXCERPT: usize = 300;

/// What is needed of a response.
pub(crate) struct Response {
    pub(crate) location: Option<String>,
    /// Size of the body in bytes.
    pub(crate) received: u64,
    /// How many bytes of both bodies were hashed.
    pub(crate) hashed: u64,
}

/// A client: its connection, which is opened again after it has ended, and its buffers.
pub(crate) struct Connection {
    origin: Arc<Origin>,
    /// The headers of every request.
    common: Arc<str>,
    /// Whether to hash what is sent and received.
    hash: bool,
    stream: Option<Stream>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    pieces: Option<Pieces>,
}

impl Connection {
    pub(crate) fn new(origin: Arc<Origin>, common: Arc<str>, hash: bool) -> Self {
        Self { origin, common, hash, stream: None, out: Vec::new(), buffer: vec![0; READ_SIZE], pieces: None }
    }

    /// Connect, so that the first request does not have to.
    pub(crate) async fn open(&mut self) -> Result<(), Failure> {
        self.stream = Some(self.origin.connect().await?);
        Ok(())
    }

    /// Send a request and read the whole response.
    pub(crate) async fn exchange(&mut self, step: &Step, path: &str) -> Result<Response, Failure> {
        if let Some(stream) = self.stream.take() {
            match self.attempt(stream, step, path).await {
                // The server has closed an idle connection, which is not an error: connect and try again.
                Err(Attempt::NoResponse(_)) => {}
                Err(Attempt::Failed(failure)) => return Err(failure),
                Ok(response) => return Ok(response),
            }
        }
        let stream = self.origin.connect().await?;
        match self.attempt(stream, step, path).await {
            Ok(response) => Ok(response),
            Err(Attempt::NoResponse(failure) | Attempt::Failed(failure)) => Err(failure),
        }
    }

    /// Send a request on `stream`. Keeps the stream if it can serve another request.
    async fn attempt(&mut self, mut stream: Stream, step: &Step, path: &str) -> Result<Response, Attempt> {
        let mut sent_hash = BodyHash::new(self.hash);
        let sent = self.send(&mut stream, step, path, &mut sent_hash).await;
        sent_hash.digest();
        // A server that refuses a body may respond and stop reading before its end. Then the response counts, and not
        // the failed write.
        let (head, filled) = match (self.head(&mut stream, &step.method).await, sent) {
            (Ok(read), _) => read,
            (Err(Attempt::NoResponse(_)), Err(failure)) => return Err(Attempt::NoResponse(failure)),
            (Err(failure), _) => return Err(failure),
        };
        let expected = step.expect.contains(&head.status);
        let mut taken = ReceivedBody::new(expected && (self.hash || step.digest.is_some()), expected);
        self.body(&mut stream, &head, filled, &mut taken).await.map_err(Attempt::Failed)?;
        if !head.closes {
            self.stream = Some(stream);
        }
        if !expected {
            let text = String::from_utf8_lossy(&taken.excerpt).trim().to_owned();
            return Err(Attempt::Failed(Failure::Status(head.status, text)));
        }
        taken.check(step.digest.as_deref()).map_err(Attempt::Failed)?;
        let hashed = sent_hash.hashed + taken.hash.hashed;
        Ok(Response { location: head.location, received: taken.received, hashed })
    }

    async fn send(&mut self, stream: &mut Stream, step: &Step, path: &str, hash: &mut BodyHash) -> Result<(), Failure> {
        self.out.clear();
        step.write_head(path, &self.common, &mut self.out);
        let together = step.body.length() <= SMALL;
        if !together {
            stream.write_all(&self.out).await?;
        }
        match &step.body {
            Body::None => {}
            Body::Bytes(bytes) => {
                hash.update(bytes);
                if together {
                    self.out.extend_from_slice(bytes);
                } else {
                    stream.write_all(bytes).await?;
                }
            }
            Body::Content(content) => {
                let pieces = self.pieces.get_or_insert_with(|| Pieces::new(*content));
                pieces.restart(*content);
                while let Some(piece) = pieces.next() {
                    hash.update(piece);
                    if together {
                        self.out.extend_from_slice(piece);
                    } else {
                        stream.write_all(piece).await?;
                    }
                }
            }
        }
        if together {
            stream.write_all(&self.out).await?;
        }
        Ok(())
    }

    /// Read the head of the response to the start of the buffer. Returns it with the number of bytes in the buffer.
    async fn head(&mut self, stream: &mut Stream, method: &str) -> Result<(Head, usize), Attempt> {
        let mut filled = 0;
        loop {
            let read = match stream.read(&mut self.buffer[filled..]).await {
                Ok(0) if filled == 0 => {
                    return Err(Attempt::NoResponse(Failure::Lost(
                        "the server closed the connection without a response".into(),
                    )));
                }
                Ok(0) => return Err(Attempt::Failed(Failure::Lost("the response is incomplete".into()))),
                Ok(read) => read,
                Err(error) => {
                    let failure = Failure::from(error);
                    let no_response = filled == 0 && failure != Failure::Timeout;
                    return Err(if no_response { Attempt::NoResponse(failure) } else { Attempt::Failed(failure) });
                }
            };
            filled += read;
            while let Some(head) = Head::parse(&self.buffer[..filled], method).map_err(Attempt::Failed)? {
                if head.status >= 200 {
                    return Ok((head, filled));
                }
                // An interim response, such as 100 Continue. The final response follows.
                self.buffer.copy_within(head.size..filled, 0);
                filled -= head.size;
            }
            if filled == self.buffer.len() {
                return Err(Attempt::Failed(Failure::BadResponse("the head of the response is too large".into())));
            }
        }
    }

    async fn body(
        &mut self,
        stream: &mut Stream,
        head: &Head,
        filled: usize,
        taken: &mut ReceivedBody,
    ) -> Result<(), Failure> {
        let mut chunks = Chunks::default();
        let mut piece = head.size..filled;
        loop {
            let bytes = &self.buffer[piece];
            let ended = match head.framing {
                Framing::Length(length) => {
                    taken.take(bytes);
                    taken.received >= length
                }
                Framing::Chunked => chunks.take(bytes, |content| taken.take(content))?,
                Framing::ToTheEnd => {
                    taken.take(bytes);
                    false
                }
            };
            if ended {
                return Ok(());
            }
            piece = match stream.read(&mut self.buffer).await? {
                0 if head.framing == Framing::ToTheEnd => return Ok(()),
                0 => return Err(Failure::Lost("the response is incomplete".into())),
                read => 0..read,
            };
        }
    }
}

/// How a request on one connection failed.
enum Attempt {
    /// Before the first byte of a response. On a kept connection it may only mean that the server has closed it.
    NoResponse(Failure),
    Failed(Failure),
}

/// Hashes a body, if asked to.
struct BodyHash {
    hasher: Option<Hasher>,
    /// Number of bytes.
    hashed: u64,
}

impl BodyHash {
    fn new(hash: bool) -> Self {
        Self { hasher: hash.then(|| Hasher::new(Algorithm::Sha256)), hashed: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
            self.hashed += bytes.len() as u64;
        }
    }

    fn digest(&self) -> Option<Digest> {
        // The compiler must not leave out a hash that nobody reads.
        black_box(self.hasher.as_ref().map(Hasher::digest))
    }
}

/// The body of a response as far as it is received.
struct ReceivedBody {
    received: u64,
    hash: BodyHash,
    wanted: bool,
    excerpt: Vec<u8>,
}

impl ReceivedBody {
    fn new(hash: bool, wanted: bool) -> Self {
        Self { received: 0, hash: BodyHash::new(hash), wanted, excerpt: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.hash.update(bytes);
        if !self.wanted && self.excerpt.len() < EXCERPT {
            self.excerpt.extend_from_slice(&bytes[..bytes.len().min(EXCERPT - self.excerpt.len())]);
        }
    }

    fn check(&self, digest: Option<&str>) -> Result<(), Failure> {
        match (self.hash.digest(), digest) {
            (Some(found), Some(digest)) if found.to_string() != digest => Err(Failure::WrongContent),
            _ => Ok(()),
        }
    }
}
