//! The four commands of an account about itself. Their messages differ in the action only.

use proto::command::v1 as wire;
use tonic::{Request, Response, Status};

use super::gateway::{CommandGateway, Origin};
use super::parse;
use crate::committer::Lane;
use crate::domain::{AccountAction, Answer, Body, Command};
use crate::responses::optional_id;

/// The request of a command of an account about itself.
pub trait AccountRequest {
    /// The account, the request_id and the action.
    fn parts(&self) -> (&str, &str, AccountAction);
}

macro_rules! account_requests {
    ($($request:ident -> $response:ident: |$r:ident| $action:expr;)+) => {$(
        impl AccountRequest for wire::$request {
            fn parts(&self) -> (&str, &str, AccountAction) {
                let $r = self;
                (&self.user_id, &self.request_id, $action)
            }
        }

        impl From<Answer> for wire::$response {
            fn from(answer: Answer) -> Self {
                let job_id = match answer.body {
                    Body::Job(job) => optional_id(job),
                    _ => String::new(),
                };
                Self { changed: answer.changed, written_at: answer.written_at.to_string(), job_id }
            }
        }
    )+};
}

account_requests! {
    SetAccountPrivacyRequest -> SetAccountPrivacyResponse: |r| AccountAction::SetPrivacy { private: r.private };
    EraseAccountRequest -> EraseAccountResponse: |_r| AccountAction::Erase;
    ArchiveAccountRequest -> ArchiveAccountResponse: |_r| AccountAction::Archive;
    RestoreAccountRequest -> RestoreAccountResponse: |_r| AccountAction::Restore;
}

/// Executes a command of an account about itself.
pub async fn execute<R: AccountRequest, A: From<Answer>>(
    gateway: &CommandGateway,
    request: Request<R>,
) -> Result<Response<A>, Status> {
    let origin = Origin::of(&request);
    let (user, request_id, action) = request.get_ref().parts();
    let user = parse::user("user_id", user)?;
    let key = parse::request_key(request_id, user, || parse::account_content(user, action))?;
    gateway.limit.check(user)?;
    let answer = gateway.execute(Command::Account { user, action }, key, origin, Lane::Command).await?;
    Ok(Response::new(answer.into()))
}
