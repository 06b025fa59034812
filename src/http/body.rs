//! Request bodies with a limit on their size and on how long a client may take between two pieces.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How much is read and dropped of a body that is too large, so that its sender, busy sending,
/// reads the answer.
const DRAINED_BYTES: u64 = 256 << 20;
/// How long that may take.
const DRAINED_FOR: Duration = Duration::from_secs(10);

/// Why a body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFailure {
    /// More than the limit.
    #[error("the body is larger than this server takes")]
    TooLarge,
    /// The next piece did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
}

/// A body within its limits.
pub(crate) struct Bounded {
    inner: axum::body::Body,
    left: u64,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Bounded {
    pub(crate) fn new(inner: axum::body::Body, limit: u64, patience: Duration) -> Self {
        Self { inner, left: limit, patience, timer: None }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => frame,
            // The clock runs only while waiting for data: most bodies arrive with the head.
            Poll::Pending => {
                let patience = this.patience;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
                ready!(timer.as_mut().poll(context));
                return Poll::Ready(Some(Err(BodyFailure::TooSlow.into())));
            }
        };
        this.timer = None;
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            match this.left.checked_sub(data.len() as u64) {
                Some(left) => this.left = left,
                None => {
                    drain(std::mem::take(&mut this.inner));
                    return Poll::Ready(Some(Err(BodyFailure::TooLarge.into())));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reads a body to its end, within bounds, while the answer is being sent.
pub(crate) fn drain(mut body: axum::body::Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(tokio::time::timeout(DRAINED_FOR, async move {
        let mut left = DRAINED_BYTES;
        while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |d| d.len() as u64));
            if left == 0 {
                break;
            }
        }
    }));
}
