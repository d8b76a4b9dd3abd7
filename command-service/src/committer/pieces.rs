//! What is left to try of a batch that failed as a whole.
//!
//! Each failure may take as long as PostgreSQL's timeouts, and all commands behind it wait. So the depth is three: the
//! batch, pieces of about the square root of its size, single commands. One command that is at fault makes three
//! transactions fail at most. The parts of a piece are tried in its place: commands of one caller keep their order.

use std::collections::VecDeque;

/// Pieces of a batch, in the order in which they are tried.
pub struct Pieces<T>(VecDeque<Vec<T>>);

impl<T> Pieces<T> {
    /// Of a batch that failed.
    pub fn of(mut batch: Vec<T>) -> Self {
        let size = batch.len().isqrt().max(1);
        let mut pieces = VecDeque::new();
        while !batch.is_empty() {
            pieces.push_front(batch.split_off(batch.len().saturating_sub(size)));
        }
        Self(pieces)
    }

    /// The next piece.
    pub fn pop(&mut self) -> Option<Vec<T>> {
        self.0.pop_front()
    }

    /// Puts each part of a piece that failed in its place, alone.
    pub fn take_apart(&mut self, failed: Vec<T>) {
        failed.into_iter().rev().for_each(|part| self.0.push_front(vec![part]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits a batch of `size` commands of which those of `poison` fail. Returns the number of failed transactions,
    /// and the committed commands in order.
    fn carry_out(size: usize, poison: &[usize]) -> (usize, Vec<usize>) {
        let mut pieces = Pieces::of((0..size).collect());
        let (mut failed, mut committed) = (1, Vec::new());
        while let Some(piece) = pieces.pop() {
            if !piece.iter().any(|each| poison.contains(each)) {
                committed.extend(piece);
                continue;
            }
            failed += 1;
            if piece.len() > 1 {
                pieces.take_apart(piece);
            }
        }
        (failed, committed)
    }

    #[test]
    fn one_that_is_at_fault_fails_alone_and_three_times_at_most() {
        for size in [2, 3, 4, 21, 500] {
            for poison in 0..size {
                let (failed, committed) = carry_out(size, &[poison]);
                assert!(failed <= 3, "{failed} failures: {poison} of {size}");
                let others: Vec<_> = (0..size).filter(|each| *each != poison).collect();
                assert_eq!(committed, others, "{poison} of {size}");
            }
        }
    }

    #[test]
    fn the_others_keep_their_order_whichever_fail() {
        for size in 2..60 {
            for first in 0..size {
                for second in first + 1..size {
                    let (_, committed) = carry_out(size, &[first, second]);
                    let others: Vec<_> = (0..size).filter(|each| *each != first && *each != second).collect();
                    assert_eq!(committed, others, "{first} and {second} of {size}");
                }
            }
        }
    }
}
