//! The newest rows of a list: all of them down to a position, the floor.

use proto::{Position, UserId};

use super::edit::{Differs, Edited, capacity_for};
use crate::queries::ListRow;

/// Maximum number of rows. An older list ends at its floor then.
const MAX_NEWEST: usize = 1_024;
/// A list that grows is cut after this number of rows beyond the maximum: each cut moves all rows.
const CUT: usize = 64;
/// A scan costs about as much as moving this fraction of its bytes.
const SCAN_FRACTION: usize = 8;

/// A row of 28 bytes. Positions have 6 bytes: enough for 2^38 revisions. Dates have 6 as well, which is 4,400 years
/// before and after 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    user: UserId,
    position: [u8; 6],
    created_at_millis: [u8; 6],
}

/// Oldest first: a new row is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    rows: Vec<Row>,
    /// All edges at or above this position are in `rows`; `None` if these are all edges of the list.
    floor: Option<Position>,
}

impl Row {
    /// `None` if a number does not fit.
    fn new(row: &ListRow) -> Option<Self> {
        let [high, more, position @ ..] = row.position.0.to_be_bytes();
        let millis = row.created_at_millis;
        let [_, _, created_at_millis @ ..] = millis.to_be_bytes();
        let packed = Self { user: row.user, position, created_at_millis };
        ([high, more] == [0; 2] && packed.millis() == millis && row.expires_at_millis.is_none())
            .then_some(packed)
    }

    fn position(&self) -> Position {
        let [a, b, c, d, e, f] = self.position;
        Position(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    fn millis(&self) -> i64 {
        let [a, b, c, d, e, f] = self.created_at_millis;
        let sign = if a & 0x80 == 0 { 0 } else { 0xff };
        i64::from_be_bytes([sign, sign, a, b, c, d, e, f])
    }

    fn listed(&self) -> ListRow {
        ListRow {
            user: self.user,
            position: self.position(),
            created_at_millis: self.millis(),
            expires_at_millis: None,
        }
    }
}

impl Newest {
    /// From rows in any order, which are all edges of the list at or above `floor`, or all edges without one. Keeps the
    /// newest. `None` if a number of a row does not fit.
    pub fn new(rows: &[ListRow], floor: Option<Position>) -> Option<Self> {
        let mut packed = rows.iter().map(Row::new).collect::<Option<Vec<_>>>()?;
        packed.sort_unstable_by_key(|row| (row.position, row.user));
        packed.dedup();
        let excess = packed.len().saturating_sub(MAX_NEWEST);
        let mut kept = Vec::with_capacity(capacity_for(packed.len() - excess));
        kept.extend_from_slice(&packed[excess..]);
        let mut newest = Self { rows: kept, floor };
        if excess > 0 {
            newest.floor = newest.rows.first().map(Row::position);
        }
        Some(newest)
    }

    /// True if this reaches down as far as the other one.
    pub(super) fn is_as_wide_as(&self, other: &Self) -> bool {
        match (self.floor, other.floor) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => ours <= theirs,
            (Some(_), None) => false,
        }
    }

    /// The newest `limit` rows below a position, newest first; `None` if they reach below the floor.
    pub(super) fn page(&self, before: Option<Position>, limit: usize) -> Option<Vec<ListRow>> {
        let end =
            before.map_or(self.rows.len(), |before| self.rows.partition_point(|row| row.position() < before));
        let begin = end.saturating_sub(limit);
        if end - begin < limit && self.floor.is_some() {
            return None;
        }
        Some(self.rows[begin..end].iter().rev().map(Row::listed).collect())
    }

    pub(super) fn put(&mut self, row: ListRow) -> Result<Edited, Differs> {
        if self.find(row.user).is_some() {
            return Err(Differs);
        }
        let scanned = self.rows.len() / SCAN_FRACTION;
        if self.floor.is_some_and(|floor| row.position < floor) {
            return Ok(moved(scanned));
        }
        let Some(packed) = Row::new(&row) else { return Ok(Edited::full()) };
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(capacity_for(self.rows.len()) - self.rows.len());
        }
        let place = self.rows.partition_point(|row| row.position < packed.position);
        self.rows.insert(place, packed);
        let mut shifted = self.rows.len() - place;
        if self.rows.len() >= MAX_NEWEST + CUT {
            self.rows.drain(..CUT);
            self.floor = self.rows.first().map(Row::position);
            shifted += self.rows.len();
        }
        Ok(moved(scanned + shifted))
    }

    pub(super) fn take(&mut self, user: UserId) -> Result<Edited, Differs> {
        let scanned = self.rows.len() / SCAN_FRACTION;
        match self.find(user) {
            Some(place) => {
                self.rows.remove(place);
                Ok(moved(scanned + self.rows.len() - place))
            }
            // An edge below the floor.
            None if self.floor.is_some() => Ok(moved(scanned)),
            None => Err(Differs),
        }
    }

    fn find(&self, user: UserId) -> Option<usize> {
        self.rows.iter().rposition(|row| row.user == user)
    }

    pub(super) fn heap(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
    }
}

fn moved(rows: usize) -> Edited {
    Edited::moved(rows * size_of::<Row>())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn row(number: u64) -> ListRow {
        let user = UserId::new(Uuid::from_u128(u128::from(number) + 1)).expect("not nil");
        ListRow { user, position: Position(number), created_at_millis: 0, expires_at_millis: None }
    }

    fn rows(numbers: std::ops::Range<u64>) -> Vec<ListRow> {
        numbers.rev().map(row).collect()
    }

    #[test]
    fn a_list_that_is_too_long_keeps_its_newest_rows_and_gets_a_floor() {
        let (most, cut) = (MAX_NEWEST as u64, CUT as u64);
        let mut newest = Newest::new(&rows(0..most + 2), None).expect("it fits");
        assert_eq!(newest.page(None, MAX_NEWEST), Some(rows(2..most + 2)));
        assert_eq!(newest.page(None, MAX_NEWEST + 1), None, "there are older ones");
        newest.take(row(1).user).expect("it is below the floor");

        let mut whole = Newest::new(&rows(0..most), None).expect("it fits");
        for number in most..most + cut - 1 {
            whole.put(row(number)).expect("a new row");
        }
        assert_eq!(whole.page(None, 2 * MAX_NEWEST), Some(rows(0..most + cut - 1)));
        whole.put(row(most + cut - 1)).expect("a new row");
        assert_eq!(whole.page(None, MAX_NEWEST), Some(rows(cut..most + cut)));
        assert_eq!(whole.page(None, MAX_NEWEST + 1), None);
        assert_eq!(whole.page(Some(Position(cut + 2)), 3), None);
        assert_eq!(whole.page(Some(Position(cut + 3)), 3), Some(rows(cut..cut + 3)));
    }

    #[test]
    fn numbers_come_back_as_they_were_or_are_not_kept() {
        let most = (1 << 47) - 1;
        for (position, created_at_millis) in [(0, 0), ((1 << 48) - 1, most), (7, -1), (7, -most - 1)] {
            let kept = ListRow { position: Position(position), created_at_millis, ..row(1) };
            let newest = Newest::new(&[kept], None).expect("it fits");
            assert_eq!(newest.page(None, 1), Some(vec![kept]));
        }
        for (position, created_at_millis) in [(1 << 48, 0), (7, most + 1), (7, -most - 2)] {
            let large = ListRow { position: Position(position), created_at_millis, ..row(1) };
            assert_eq!(Newest::new(&[large], None), None);
            let mut newest = Newest::new(&[], None).expect("it fits");
            assert_eq!(newest.put(large), Ok(Edited::full()));
        }
    }

    #[test]
    fn a_restored_edge_below_the_floor_is_not_kept() {
        let mut newest = Newest::new(&rows(5..9), Some(Position(5))).expect("it fits");
        newest.put(row(3)).expect("nothing is known of it");
        assert_eq!(
            newest.put(ListRow { position: Position(4), ..row(7) }),
            Err(Differs),
            "it is there already"
        );
        newest.put(row(9)).expect("a new row");
        assert_eq!(newest.page(None, 5), Some(rows(5..10)));
        assert_eq!(newest.page(None, 6), None);
    }

    #[test]
    fn an_event_that_does_not_fit_a_whole_list_differs() {
        let mut newest = Newest::new(&rows(5..9), None).expect("it fits");
        assert_eq!(newest.put(row(6)), Err(Differs));
        assert_eq!(newest.take(row(1).user), Err(Differs));
    }

    #[test]
    fn rows_are_small() {
        assert_eq!(size_of::<Row>(), 28);
        let newest = Newest::new(&rows(0..1_000), None).expect("it fits");
        assert!(newest.heap() < 32 * 1_000, "{}", newest.heap());
    }
}
