//! Settings of access to reads.
//!
//! Reads show the mutes and blocks of every account. So a process accepts anonymous callers only if an operator sets
//! `ANONYMOUS_READS`.

use service_kit::Env;
use service_kit::auth::{Scope, Tokens};

use crate::grpc::LegacyReads;

const TOKENS: &str = "AUTH_TOKENS";
const ANONYMOUS: &str = "ANONYMOUS_READS";
const LEGACY: &str = "LEGACY_READS";
const INTERNAL: &str = "INTERNAL_GRAPH_WRITE_TOKEN";

/// Settings of access to reads.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// `AUTH_TOKENS`. Empty only with `ANONYMOUS_READS=true`: then every caller may read.
    pub tokens: Tokens,
    /// `LEGACY_READS` (open): who may read through the older API.
    pub legacy_reads: LegacyReads,
    /// `INTERNAL_GRAPH_WRITE_TOKEN`: tokens of older clients, which `LEGACY_READS=token` accepts.
    pub internal: Tokens,
}

pub(super) fn read(env: &mut Env) -> AccessSettings {
    let tokens = Tokens::read(env);
    let anonymous = env
        .about(
            "With true, every caller may read everything, mutes and blocks of all accounts included. Without \
             AUTH_TOKENS the process starts only with true; with AUTH_TOKENS it has no effect.",
        )
        .flag_or(ANONYMOUS, false);
    let legacy_reads: LegacyReads = env
        .about(
            "Who may read through nova.graph_service.v2: open (every caller), token (a bearer token with the scope \
             read, or a token of INTERNAL_GRAPH_WRITE_TOKEN as x-internal-token) or off (rejects all).",
        )
        .parse_or(LEGACY, "open");
    let internal = Tokens::read_secrets(
        env.about(
            "With LEGACY_READS=token: the tokens that clients of nova.graph_service.v2 send as x-internal-token, \
             comma-separated, as command-service has them. They are accepted for those reads alone.",
        )
        .example("a-long-random-text,another-one"),
        INTERNAL,
        Scope::Read,
    );
    match (env.is_set(TOKENS), anonymous) {
        (false, false) => env.reject(
            TOKENS,
            "is not set, so everyone who reaches the port could read who follows, mutes and blocks whom; set it, or \
             ANONYMOUS_READS=true if that is wanted",
        ),
        (false, true) => env.remark(
            ANONYMOUS,
            "reads are open: everyone who reaches the port can read who follows, mutes and blocks whom",
        ),
        (true, true) => env.remark(ANONYMOUS, "ANONYMOUS_READS has no effect, because AUTH_TOKENS is set"),
        (true, false) => {}
    }
    let given = env.is_set(TOKENS);
    match legacy_reads {
        LegacyReads::Open if given => env.remark(
            LEGACY,
            "reads of the older API (nova.graph_service.v2) are open although AUTH_TOKENS is set: everyone who reaches \
             the port can read who follows, mutes and blocks whom; LEGACY_READS=token or off closes them",
        ),
        // An invalid AUTH_TOKENS is reported separately.
        LegacyReads::Token
            if internal.is_empty() && !tokens.grant(Scope::Read) && (tokens.is_empty() != given) =>
        {
            env.reject(
                LEGACY,
                "is token, and no token is configured that could be accepted: set INTERNAL_GRAPH_WRITE_TOKEN, or a \
                 token with the scope read in AUTH_TOKENS",
            );
        }
        _ => {}
    }
    AccessSettings { tokens, legacy_reads, internal }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables with errors, and those with warnings.
    fn told(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let settings = read(&mut env);
        let remarks = env.remarks().iter().map(|remark| remark.variable.clone()).collect();
        let mistakes = env.finish(settings).err().map(|error| error.mistakes).unwrap_or_default();
        (mistakes.into_iter().map(|mistake| mistake.variable).collect(), remarks)
    }

    #[test]
    fn reads_are_open_only_where_an_operator_says_so() {
        let tokens = (TOKENS, "read:hunter2");
        let none = || Vec::<String>::new();
        let of = |name: &str| vec![name.to_owned()];
        for (pairs, mistakes, remarks) in [
            (&[][..], of(TOKENS), none()),
            (&[(TOKENS, "  ")], of(TOKENS), none()),
            (&[(ANONYMOUS, "false")], of(TOKENS), none()),
            (&[(ANONYMOUS, "yes")], vec![ANONYMOUS.to_owned(), TOKENS.to_owned()], none()),
            (&[(ANONYMOUS, "true")], none(), of(ANONYMOUS)),
            (&[(ANONYMOUS, "true"), (LEGACY, "off")], none(), of(ANONYMOUS)),
            (&[tokens], none(), of(LEGACY)),
            (&[tokens, (ANONYMOUS, "true"), (LEGACY, "off")], none(), of(ANONYMOUS)),
            (&[tokens, (LEGACY, "token")], none(), none()),
            (&[tokens, (LEGACY, "off")], none(), none()),
            (&[tokens, (LEGACY, "closed")], of(LEGACY), of(LEGACY)),
        ] {
            assert_eq!(told(pairs), (mistakes, remarks), "{pairs:?}");
        }
    }

    #[test]
    fn tokens_that_are_demanded_exist() {
        let token = (LEGACY, "token");
        let mistakes = |pairs: &[(&str, &str)]| told(pairs).0;
        assert_eq!(mistakes(&[token, (TOKENS, "write:a")]), [LEGACY]);
        assert_eq!(mistakes(&[token, (ANONYMOUS, "true")]), [LEGACY]);
        assert_eq!(mistakes(&[token, (TOKENS, "write:a"), (INTERNAL, "b")]), Vec::<String>::new());
        assert_eq!(mistakes(&[token, (ANONYMOUS, "true"), (INTERNAL, "b")]), Vec::<String>::new());
        assert_eq!(mistakes(&[token, (TOKENS, "nonsense")]), [TOKENS], "one mistake for one slip");
    }
}
