//! Room on the stack for a question.
//!
//! Planners recurse over what they plan, and a stack that runs out ends the whole node. So a question is polled on a
//! stack of its own, and may not nest deeper than that has room for (see [`crate::statement`]).

use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of the stack that a question is polled on. On a thread that has as much it is polled where it is, which is faster.
pub const STACK_BYTES: usize = 64 << 20;

/// A future polled with [`STACK_BYTES`] of stack, or half of that where there is as much anyway.
pub(crate) struct Roomy<'f, T>(pub Pin<Box<dyn Future<Output = T> + Send + 'f>>);

impl<T> Future for Roomy<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, || self.0.as_mut().poll(context))
    }
}
