//! Takes a failed batch apart, to find the faulty command.
//!
//! Each failure may take as long as PostgreSQL's timeouts, while all other commands wait. So there are three levels:
//! the batch, pieces of about the square root of its size, single commands. One faulty command makes at most three
//! transactions fail. The parts of a piece take its place, so that commands keep their order.

use std::collections::VecDeque;

/// Pieces of a batch, in order.
pub struct Pieces<T>(VecDeque<Vec<T>>);

impl<T> Pieces<T> {
    /// Splits a failed batch into pieces of about the square root of its size.
    pub fn of(mut batch: Vec<T>) -> Self {
        let size = batch.len().isqrt().max(1);
        let mut pieces = VecDeque::new();
        while !batch.is_empty() {
            pieces.push_front(batch.split_off(batch.len().saturating_sub(size)));
        }
        Self(pieces)
    }

    /// Takes the next piece.
    pub fn pop(&mut self) -> Option<Vec<T>> {
        self.0.pop_front()
    }

    /// Puts the parts of a failed piece in its place, each as a piece of its own.
    pub fn take_apart(&mut self, failed: Vec<T>) {
        failed.into_iter().rev().for_each(|part| self.0.push_front(vec![part]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits a batch of `size` commands of which those of `poison` fail. Returns the number of failed transactions,
    /// and the committed commands in order.
    fn commit_all(size: usize, poison: &[usize]) -> (usize, Vec<usize>) {
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
    fn a_faulty_command_fails_alone_after_at_most_three_failures() {
        for size in [2, 3, 4, 21, 500] {
            for poison in 0..size {
                let (failed, committed) = commit_all(size, &[poison]);
                assert!(failed <= 3, "{failed} failures: {poison} of {size}");
                let others: Vec<_> = (0..size).filter(|each| *each != poison).collect();
                assert_eq!(committed, others, "{poison} of {size}");
            }
        }
    }

    #[test]
    fn the_other_commands_keep_their_order() {
        for size in 2..60 {
            for first in 0..size {
                for second in first + 1..size {
                    let (_, committed) = commit_all(size, &[first, second]);
                    let others: Vec<_> = (0..size).filter(|each| *each != first && *each != second).collect();
                    assert_eq!(committed, others, "{first} and {second} of {size}");
                }
            }
        }
    }
}
