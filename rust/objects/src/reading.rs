//! One object, or a range of it, that arrives in pieces.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::bucket::Bucket;
use crate::error::{Error, Kind, Result};
use crate::operation::Operation;
use crate::transport::run;

/// Bytes that are gathered before a piece is passed on. No piece has twice as many.
const ENOUGH: usize = 512 * 1024;

/// Pieces that are fetched ahead.
const AHEAD: usize = 1;

/// Bytes as they came from the network. Empty at the end.
pub type Piece = Vec<Bytes>;

/// A range of an object, while it is fetched.
///
/// A task fetches it, and stops while a piece waits. If the connection breaks, it goes on with a new request for the
/// rest, which must have the same `ETag`. It gives up if such a request brings nothing.
#[derive(Debug)]
pub struct Reading {
    size: u64,
    pieces: Mutex<Pieces>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Pieces {
    coming: mpsc::Receiver<Result<Piece>>,
    end: Option<Result<()>>,
}

impl Reading {
    /// Begin to read `range`, which is not empty. None if the object does not exist.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn open(bucket: &Arc<Bucket>, key: &str, range: Range<u64>) -> Result<Option<Self>> {
        let Some(found) = bucket.get(key, range, None).await? else {
            return Ok(None);
        };
        let size = found.meta.size;
        let fetch = Fetch {
            bucket: Arc::clone(bucket),
            key: key.to_owned(),
            left: found.range.clone(),
            etag: found.meta.e_tag.clone(),
            stream: found.into_stream(),
            rest: Bytes::new(),
            resumed_at: None,
        };
        let (sender, coming) = mpsc::channel(AHEAD);
        let task = Handle::current().spawn(fetch.send_to(sender)).abort_handle();
        Ok(Some(Self { size, pieces: Mutex::new(Pieces { coming, end: None }), task }))
    }

    /// Bytes of the whole object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, of 512 KiB to 1 MiB, the last one less. Empty at the end. It is pending until it has arrived, or
    /// the reading was closed; then the last waker that was given is woken.
    ///
    /// # Errors
    /// See [`Kind`]. After an error, each call repeats it.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<Piece>> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = &pieces.end {
            return Poll::Ready(end.clone().map(|()| Piece::new()));
        }
        let closed = || Err(Error::new(Kind::Other, Operation::Read, "it was closed"));
        let piece = ready!(pieces.coming.poll_recv(context)).unwrap_or_else(closed);
        match &piece {
            Ok(piece) if !piece.is_empty() => {}
            Ok(_) => pieces.end = Some(Ok(())),
            Err(error) => pieces.end = Some(Err(error.clone())),
        }
        Poll::Ready(piece)
    }

    /// Stop fetching.
    pub fn close(&self) {
        self.task.abort();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.close();
    }
}

struct Fetch {
    bucket: Arc<Bucket>,
    key: String,
    /// What has not arrived yet.
    left: Range<u64>,
    etag: Option<String>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    /// Bytes of the stream that are in no piece yet.
    rest: Bytes,
    /// Where the last new request began.
    resumed_at: Option<u64>,
}

impl Fetch {
    async fn send_to(mut self, sender: mpsc::Sender<Result<Piece>>) {
        loop {
            let Ok(place) = sender.reserve().await else { return };
            let piece = self.piece().await;
            let is_last = piece.as_ref().map_or(true, Vec::is_empty);
            place.send(piece);
            if is_last {
                return;
            }
        }
    }

    async fn piece(&mut self) -> Result<Piece> {
        let (mut piece, mut gathered) = (Piece::new(), 0);
        while gathered < ENOUGH && !self.left.is_empty() {
            let bytes = self.bytes().await?;
            gathered += bytes.len();
            piece.push(bytes);
        }
        Ok(piece)
    }

    async fn bytes(&mut self) -> Result<Bytes> {
        if self.rest.is_empty() {
            self.rest = self.receive().await?;
        }
        let wanted = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let bytes = self.rest.split_to(self.rest.len().min(ENOUGH).min(wanted));
        self.left.start += bytes.len() as u64;
        Ok(bytes)
    }

    async fn receive(&mut self) -> Result<Bytes> {
        loop {
            let broken = match run(Operation::Read, self.stream.try_next()).await {
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => Error::new(Kind::Unavailable, Operation::Read, "the connection ended too early"),
                Err(error) => error,
            };
            let is_stuck = self.resumed_at == Some(self.left.start);
            // Without an ETag, the rest could be that of another object.
            if broken.kind != Kind::Unavailable || is_stuck || self.etag.is_none() {
                return Err(broken);
            }
            self.resumed_at = Some(self.left.start);
            let found = self.bucket.get(&self.key, self.left.clone(), self.etag.clone()).await?.ok_or(broken)?;
            self.stream = found.into_stream();
        }
    }
}
