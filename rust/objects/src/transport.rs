//! Between `object_store` and its HTTP client: counts requests, limits waiting, and remembers why a request failed.
//!
//! An operation runs in a [`Call`], which its requests find in the task. Retries are requests like others.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use tokio::time::{Sleep, timeout};

use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::operation::{Counts, Operation};

/// Bytes per second below which sending a body counts as broken. With a limit for the whole request, a large part would
/// not get through a slow line.
const SLOWEST: u64 = 64 * 1024;

struct Call {
    operation: Operation,
    failure: RefCell<Option<Failure>>,
}

tokio::task_local! {
    static CALL: Call;
}

/// Run an operation.
pub(crate) async fn run<T>(operation: Operation, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    let call = Call { operation, failure: RefCell::default() };
    CALL.scope(call, async {
        work.await.map_err(|error| Error::of(operation, &error, CALL.with(|call| call.failure.take())))
    })
    .await
}

fn note(failure: Option<Failure>) {
    // Outside of a call nobody asks.
    let _ = CALL.try_with(|call| call.failure.replace(failure));
}

/// Makes HTTP clients that count.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) counts: Arc<Counts>,
    /// The longest wait for an answer, and for the next bytes of it.
    pub(crate) wait: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Client { inner, counts: Arc::clone(&self.counts), wait: self.wait }))
    }
}

#[derive(Debug)]
struct Client {
    inner: HttpClient,
    counts: Arc<Counts>,
    wait: Duration,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let _ = CALL.try_with(|call| self.counts.add(call.operation));
        note(None);
        let answer = self.send(request).await;
        if let Err(error) = &answer {
            note(Some(Failure::of(error)));
        }
        answer
    }
}

impl Client {
    async fn send(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let sending = Duration::from_secs(request.body().content_length() as u64 / SLOWEST);
        let answer = timeout(self.wait + sending, self.inner.execute(request)).await.map_err(late)??;
        let (parts, body) = answer.into_parts();
        if parts.status.as_u16() < 400 {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Paced::new(body, self.wait))));
        }
        let body = timeout(self.wait, body.bytes()).await.map_err(late)??;
        note(Some(Failure::answered(parts.status.as_u16(), &body)));
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

#[allow(clippy::needless_pass_by_value)]
fn late(elapsed: tokio::time::error::Elapsed) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, elapsed)
}

/// A body whose next bytes must come within a time. The time runs only while somebody waits for them.
struct Paced {
    body: HttpResponseBody,
    wait: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(body: HttpResponseBody, wait: Duration) -> Self {
        Self { body, wait, until: None }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.until = None;
            return Poll::Ready(frame);
        }
        let wait = this.wait;
        let until = this.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(until.as_mut().poll(context));
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, Late))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("deadline has elapsed")]
struct Late;
