//! What is left to try of a batch that failed as a whole.
//!
//! Each failure may take as long as PostgreSQL's timeouts, and all commands behind it wait. So the depth is three: the
//! batch, pieces of about the square root of its size, single commands. One command that is at fault makes three
//! transactions fail at most; the pieces without one are committed before the parts of those that failed are tried.

use std::collections::VecDeque;

/// Pieces of a batch, in the order in which they are tried.
pub struct Pieces<T>(VecDeque<Vec<T>>);

impl<T> Pieces<T> {
    /// Of a batch that failed.
    pub fn of(mut batch: Vec<T>) -> Self {
        let size = batch.len().isqrt().max(1);
        let mut pieces = VecDeque::new();
        // From the end: two chunks of an import are the last of their batch and share a piece, so that they keep their
        // order.
        while !batch.is_empty() {
            pieces.push_front(batch.split_off(batch.len().saturating_sub(size)));
        }
        Self(pieces)
    }

    /// The next piece.
    pub fn pop(&mut self) -> Option<Vec<T>> {
        self.0.pop_front()
    }

    /// Puts each part of a piece that failed behind all others, alone.
    pub fn put_behind(&mut self, failed: Vec<T>) {
        self.0.extend(failed.into_iter().map(|part| vec![part]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits a batch of `size` commands of which `poison` fails. Returns the number of failed transactions, and the
    /// committed commands in order.
    fn carry_out(size: usize, poison: usize) -> (usize, Vec<usize>) {
        let mut pieces = Pieces::of((0..size).collect());
        let (mut failed, mut committed) = (1, Vec::new());
        while let Some(piece) = pieces.pop() {
            if !piece.contains(&poison) {
                committed.extend(piece);
                continue;
            }
            failed += 1;
            if piece.len() > 1 {
                pieces.put_behind(piece);
            }
        }
        (failed, committed)
    }

    #[test]
    fn one_that_is_at_fault_fails_alone_and_three_times_at_most() {
        for size in [2, 3, 4, 21, 500] {
            for poison in 0..size {
                let (failed, mut committed) = carry_out(size, poison);
                assert!(failed <= 3, "{failed} failures: {poison} of {size}");
                committed.sort_unstable();
                let others: Vec<_> = (0..size).filter(|each| *each != poison).collect();
                assert_eq!(committed, others, "{poison} of {size}");
            }
        }
    }

    #[test]
    fn pieces_without_one_that_is_at_fault_go_first() {
        let (_, committed) = carry_out(500, 30);
        // 500 are 22 pieces of 22 behind one of 16.
        let behind = committed.len() - 21;
        assert!(committed[behind..].iter().all(|each| (16..38).contains(each)), "{committed:?}");
    }

    #[test]
    fn the_last_two_keep_their_order() {
        for size in 3..100 {
            for poison in 0..size - 2 {
                let (_, committed) = carry_out(size, poison);
                let place = |of| committed.iter().position(|each| *each == of);
                assert!(place(size - 2) < place(size - 1), "{poison} of {size}");
            }
        }
    }
}
