//! Settings of the read models: the address of each, and the name of its projector.
//!
//! A wrong name cannot be detected here: until an answer shows the mistake, the announcements of one projector count
//! for another one's server.

use proto::subjects;
use service_kit::{Env, neo4j};

const NAME: &str = "PROJECTOR_NAME";
const NAMES: &str = "PROJECTOR_NAMES";

/// One replica of the read model.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// Name of its projector.
    pub projector: String,
    /// Its address.
    pub neo4j: neo4j::Settings,
}

/// Reads the settings of all replicas; there is at least one.
pub(super) fn read(env: &mut Env) -> Vec<ReplicaSettings> {
    let servers = neo4j::Settings::read_several(env);
    let only = env.about("Name of the projector that feeds the only Neo4j.").text_or(NAME, "projector-0");
    let names = env
        .about("Names of the projectors that feed the servers of NEO4J_URIS, comma-separated and in the same order. Default: projector-0, projector-1 and so on.")
        .example("projector-0,projector-1")
        .optional(NAMES);
    let (variable, names): (_, Vec<String>) = match names {
        Some(names) => (NAMES, names.split(',').map(|name| name.trim().to_owned()).collect()),
        None if servers.len() == 1 => (NAME, vec![only]),
        None => (NAMES, (0..servers.len()).map(|number| format!("projector-{number}")).collect()),
    };
    if let Some(number) = names.iter().position(|name| !subjects::is_projector_name(name)) {
        let which = if names.len() > 1 { format!("name {} ", number + 1) } else { String::new() };
        env.reject(variable, format!("{which}{}", subjects::PROJECTOR_NAME_RULE));
    }
    if names.len() != servers.len() {
        let problem = format!("holds {} names for {} servers", names.len(), servers.len());
        env.reject(NAMES, problem);
    } else if names.iter().enumerate().any(|(number, name)| names[..number].contains(name)) {
        env.reject(NAMES, "holds a name twice");
    }
    let pairs = names.into_iter().zip(servers);
    pairs.map(|(projector, neo4j)| ReplicaSettings { projector, neo4j }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let needed = [("NEO4J_USER", "neo4j"), ("NEO4J_PASSWORD", "pw")];
        let mut env = Env::from_pairs(pairs.iter().copied().chain(needed));
        let read = read(&mut env);
        let read = env.finish(read).ok()?;
        Some(read.into_iter().map(|replica| (replica.projector, replica.neo4j.uri)).collect())
    }

    fn pair(projector: &str, uri: &str) -> (String, String) {
        (projector.to_owned(), uri.to_owned())
    }

    #[test]
    fn one_server_is_a_list_of_one() {
        let one = ("NEO4J_URI", "bolt://a:1");
        assert_eq!(replicas(&[one]), Some(vec![pair("projector-0", "bolt://a:1")]));
        let named = replicas(&[one, ("PROJECTOR_NAME", "north")]);
        assert_eq!(named, Some(vec![pair("north", "bolt://a:1")]));
    }

    #[test]
    fn several_servers_have_a_projector_each() {
        let two = ("NEO4J_URIS", "bolt://a:1,bolt://b:2");
        let numbered = vec![pair("projector-0", "bolt://a:1"), pair("projector-1", "bolt://b:2")];
        assert_eq!(replicas(&[two]), Some(numbered.clone()));
        assert_eq!(replicas(&[two, ("PROJECTOR_NAME", "north")]), Some(numbered));
        let named = replicas(&[two, (NAMES, "north, south")]);
        assert_eq!(named, Some(vec![pair("north", "bolt://a:1"), pair("south", "bolt://b:2")]));
    }

    #[test]
    fn names_that_do_not_fit_the_servers_are_a_mistake() {
        let two = ("NEO4J_URIS", "bolt://a:1,bolt://b:2");
        for names in ["north", "north,south,west", "north,north"] {
            assert_eq!(replicas(&[two, (NAMES, names)]), None, "{names}");
        }
    }

    #[test]
    fn names_that_no_projector_can_have_are_a_mistake() {
        let (one, two) = (("NEO4J_URI", "bolt://a:1"), ("NEO4J_URIS", "bolt://a:1,bolt://b:2"));
        for name in ["projector 0", "projector.1", "a*", "a>"] {
            let names = format!("north,{name}");
            assert_eq!(replicas(&[one, (NAME, name)]), None, "{name}");
            assert_eq!(replicas(&[two, (NAMES, &names)]), None, "{names}");
        }
        assert_eq!(replicas(&[two, (NAMES, "north,")]), None);
    }
}
