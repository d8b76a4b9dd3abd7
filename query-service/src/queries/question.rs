//! Properties of a question that do not depend on the store.

/// Number of items that cost PostgreSQL about as much as one more statement.
const ITEMS_PER_UNIT: usize = 50;

/// Rows that a read may return per place at a read model.
const ROWS_PER_PLACE: usize = 1_000;

/// Places at a read model for an answer of `rows` rows. Long answers take several, since they use more of the server's
/// CPU. A page of the API's largest size takes one.
pub fn places(rows: usize) -> usize {
    (rows / ROWS_PER_PLACE).max(1)
}

/// The reach of a question, which decides which stores can answer it and how long they get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Single-hop: edges of the accounts themselves. Recent events are applied to the answer.
    #[default]
    Single,
    /// Multi-hop. It takes longer, and recent events cannot be applied to the answer.
    Multi,
    /// Like `Multi`, and only the read model can answer.
    ReadModel,
}

/// A question: plain data that any store may be able to answer, see [`super::Read`].
pub trait Question: Send + Sync {
    type Answer: Send;

    /// True if it shares statements with other questions; those have separate places at the read models.
    const IS_SHARED: bool = false;

    /// Name in metrics and explanations.
    fn name(&self) -> QuestionName;

    /// Upper bound of the rows of a list in its answer; 1 for other answers.
    fn rows(&self) -> usize {
        1
    }

    /// Upper bound of the items that it concerns.
    fn items(&self) -> usize {
        self.rows()
    }

    fn scope(&self) -> Scope {
        Scope::Single
    }

    /// Places that it takes at a read model, if it has its own statement.
    fn places(&self) -> usize {
        places(self.rows())
    }

    /// Cost in units of the fallback budget: one for the statement and one for every fifty items.
    fn cost(&self) -> u32 {
        u32::try_from(1 + self.items() / ITEMS_PER_UNIT).unwrap_or(u32::MAX)
    }
}

/// The names of questions. A closed set, since they are labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionName {
    /// [`super::Check`].
    Check,
    /// [`super::Relations`].
    Relations,
    /// [`super::CountsOf`].
    Counts,
    /// [`super::Page`] of followers.
    ListFollowers,
    /// [`super::Page`] of followed accounts.
    ListFollowing,
    /// [`super::Page`] of muted accounts.
    ListMutes,
    /// [`super::Page`] of blocked accounts.
    ListBlocks,
    /// [`super::Page`] of accounts that ask to follow.
    ListRequestsReceived,
    /// [`super::Page`] of accounts that were asked.
    ListRequestsSent,
    /// [`super::SeenPage`] of followers.
    ListFollowersSeen,
    /// [`super::SeenPage`] of followed accounts.
    ListFollowingSeen,
    /// [`super::Sift`].
    Sift,
    /// [`super::Known`].
    Known,
    /// [`super::ListAt`].
    ListAt,
    /// [`super::Union`].
    Union,
    /// [`super::Suggest`].
    Suggest,
}

impl QuestionName {
    /// All questions, in the order of the variants.
    pub const ALL: [Self; 16] = [
        Self::Check,
        Self::Relations,
        Self::Counts,
        Self::ListFollowers,
        Self::ListFollowing,
        Self::ListMutes,
        Self::ListBlocks,
        Self::ListRequestsReceived,
        Self::ListRequestsSent,
        Self::ListFollowersSeen,
        Self::ListFollowingSeen,
        Self::Sift,
        Self::Known,
        Self::ListAt,
        Self::Union,
        Self::Suggest,
    ];
    /// Number of questions.
    pub const COUNT: usize = Self::ALL.len();

    pub fn text(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Relations => "relations",
            Self::Counts => "counts",
            Self::ListFollowers => "list_followers",
            Self::ListFollowing => "list_following",
            Self::ListMutes => "list_mutes",
            Self::ListBlocks => "list_blocks",
            Self::ListRequestsReceived => "list_requests_received",
            Self::ListRequestsSent => "list_requests_sent",
            Self::ListFollowersSeen => "list_followers_seen",
            Self::ListFollowingSeen => "list_following_seen",
            Self::Sift => "sift",
            Self::Known => "known",
            Self::ListAt => "list_at",
            Self::Union => "union",
            Self::Suggest => "suggest",
        }
    }
}
