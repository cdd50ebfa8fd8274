//! One client's connection: a request out, its answer in, and again.

use std::sync::Arc;

use ociserver_core::digest::Algorithm;
use ociserver_core::hash::Hasher;

use crate::answer::{Chunks, Framing, Head};
use crate::content::Pieces;
use crate::error::Failure;
use crate::origin::{Origin, Stream};
use crate::step::{Body, Step};

/// Bytes that are read at once.
const READ_SIZE: usize = 256 << 10;

/// Bytes of a body that are sent together with the head.
const SMALL: u64 = 64 << 10;

/// Bytes of an answer that are kept to be shown when it was not the expected one.
const EXCERPT: usize = 300;

/// What came back.
pub(crate) struct Answer {
    pub(crate) location: Option<String>,
    /// Bytes of the body.
    pub(crate) received: u64,
}

/// A client: a connection that is made anew when it has ended, and buffers that are kept.
pub(crate) struct Connection {
    origin: Arc<Origin>,
    /// Headers that every request has.
    common: Arc<str>,
    stream: Option<Stream>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    pieces: Option<Pieces>,
}

impl Connection {
    pub(crate) fn new(origin: Arc<Origin>, common: Arc<str>) -> Self {
        Self { origin, common, stream: None, out: Vec::new(), buffer: vec![0; READ_SIZE], pieces: None }
    }

    /// Connect now, so that the first request need not.
    pub(crate) async fn open(&mut self) -> Result<(), Failure> {
        self.stream = Some(self.origin.connect().await?);
        Ok(())
    }

    /// Send a request and read its answer to the end.
    pub(crate) async fn exchange(&mut self, step: &Step, path: &str) -> Result<Answer, Failure> {
        if let Some(stream) = self.stream.take() {
            match self.attempt(stream, step, path).await {
                // The server was just closing a connection that had been idle: nothing is wrong with it.
                Err(Attempt::Unanswered(_)) => {}
                Err(Attempt::Failed(failure)) => return Err(failure),
                Ok(answer) => return Ok(answer),
            }
        }
        let stream = self.origin.connect().await?;
        match self.attempt(stream, step, path).await {
            Ok(answer) => Ok(answer),
            Err(Attempt::Unanswered(failure) | Attempt::Failed(failure)) => Err(failure),
        }
    }

    /// The stream is put back when it can serve another request.
    async fn attempt(&mut self, mut stream: Stream, step: &Step, path: &str) -> Result<Answer, Attempt> {
        let sent = self.send(&mut stream, step, path).await;
        // Whoever refuses a body answers before its end: what it says counts, and not that it stopped reading.
        let (head, filled) = match (self.head(&mut stream, &step.method).await, sent) {
            (Ok(read), _) => read,
            (Err(Attempt::Unanswered(_)), Err(failure)) => return Err(Attempt::Unanswered(failure)),
            (Err(failure), _) => return Err(failure),
        };
        let expected = step.expect.contains(&head.status);
        let mut taken = Taken::new(if expected { step.digest.as_deref() } else { None }, expected);
        self.body(&mut stream, &head, filled, &mut taken).await.map_err(Attempt::Failed)?;
        if !head.closes {
            self.stream = Some(stream);
        }
        if !expected {
            let text = String::from_utf8_lossy(&taken.excerpt).trim().to_owned();
            return Err(Attempt::Failed(Failure::Status(head.status, text)));
        }
        taken.check(step.digest.as_deref()).map_err(Attempt::Failed)?;
        Ok(Answer { location: head.location, received: taken.received })
    }

    async fn send(&mut self, stream: &mut Stream, step: &Step, path: &str) -> Result<(), Failure> {
        self.out.clear();
        step.write_head(path, &self.common, &mut self.out);
        let together = step.body.length() <= SMALL;
        if !together {
            stream.write_all(&self.out).await?;
        }
        match &step.body {
            Body::None => {}
            Body::Bytes(bytes) if together => self.out.extend_from_slice(bytes),
            Body::Bytes(bytes) => stream.write_all(bytes).await?,
            Body::Content(content) => {
                let pieces = self.pieces.get_or_insert_with(|| Pieces::new(*content));
                pieces.restart(*content);
                while let Some(piece) = pieces.next() {
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

    /// The head of the answer, at the beginning of the buffer, and how many bytes of the buffer are filled.
    async fn head(&mut self, stream: &mut Stream, method: &str) -> Result<(Head, usize), Attempt> {
        let mut filled = 0;
        loop {
            let read = match stream.read(&mut self.buffer[filled..]).await {
                Ok(0) if filled == 0 => return Err(Attempt::Unanswered(Failure::Broken("no answer".into()))),
                Ok(0) => return Err(Attempt::Failed(Failure::Broken("half of an answer".into()))),
                Ok(read) => read,
                Err(error) => {
                    let failure = Failure::from(error);
                    let unanswered = filled == 0 && failure != Failure::Timeout;
                    return Err(if unanswered { Attempt::Unanswered(failure) } else { Attempt::Failed(failure) });
                }
            };
            filled += read;
            while let Some(head) = Head::parse(&self.buffer[..filled], method).map_err(Attempt::Failed)? {
                if head.status >= 200 {
                    return Ok((head, filled));
                }
                // 100 Continue and its like: the answer follows.
                self.buffer.copy_within(head.size..filled, 0);
                filled -= head.size;
            }
            if filled == self.buffer.len() {
                return Err(Attempt::Failed(Failure::BadAnswer("the head does not end".into())));
            }
        }
    }

    async fn body(
        &mut self,
        stream: &mut Stream,
        head: &Head,
        filled: usize,
        taken: &mut Taken,
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
                0 => return Err(Failure::Broken("half of an answer".into())),
                read => 0..read,
            };
        }
    }
}

/// How an attempt on one connection failed.
enum Attempt {
    /// Before anything of an answer came: on a connection that was kept, that may be its end and no more.
    Unanswered(Failure),
    Failed(Failure),
}

/// What has been made of a body.
struct Taken {
    received: u64,
    hasher: Option<Hasher>,
    wanted: bool,
    excerpt: Vec<u8>,
}

impl Taken {
    fn new(digest: Option<&str>, wanted: bool) -> Self {
        Self { received: 0, hasher: digest.map(|_| Hasher::new(Algorithm::Sha256)), wanted, excerpt: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if !self.wanted && self.excerpt.len() < EXCERPT {
            self.excerpt.extend_from_slice(&bytes[..bytes.len().min(EXCERPT - self.excerpt.len())]);
        }
    }

    fn check(&self, digest: Option<&str>) -> Result<(), Failure> {
        match (&self.hasher, digest) {
            (Some(hasher), Some(digest)) if hasher.digest().to_string() != digest => Err(Failure::WrongContent),
            _ => Ok(()),
        }
    }
}
