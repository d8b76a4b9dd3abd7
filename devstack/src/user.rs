//! The unprivileged user that runs PostgreSQL if this process is root, as in containers and on CI machines.
//!
//! That user cannot reach a clone or a cache in a home of mode 0700. Then its files go to another folder.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User, geteuid};

/// Users tried in this order.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// A user without privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unprivileged {
    /// Its user id.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
}

impl Unprivileged {
    /// The user to run as; `None` if this process is not root.
    pub fn if_we_are_root() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in CANDIDATES {
            let user = User::from_name(name).with_context(|| format!("cannot look up user {name}"))?;
            if let Some(user) = user.filter(|user| user.uid != Uid::from_raw(0)) {
                return Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        bail!(
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`\n\
             what to do: run as an ordinary user, or create one: useradd --system postgres"
        )
    }

    /// Whether this user can enter `folder` (which need not exist yet).
    pub fn can_reach(&self, folder: &Path) -> bool {
        folder.ancestors().filter_map(|ancestor| fs::metadata(ancestor).ok()).all(|metadata| {
            let mode = metadata.permissions().mode();
            if metadata.uid() == self.uid {
                mode & 0o100 != 0
            } else if metadata.gid() == self.gid {
                mode & 0o010 != 0
            } else {
                mode & 0o001 != 0
            }
        })
    }

    /// Gives `path` to this user.
    pub fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to uid {}", path.display(), self.uid))
    }
}

/// Folder for files that the user cannot reach elsewhere. Only root can create names there, and no clean-up by age
/// removes them.
const OPEN_PLACE: &str = "/var/cache/followgraph";

/// `folder` if `user` can reach it, else a reachable folder that depends on `folder` only.
pub fn reachable_instead_of(folder: &Path, user: Option<&Unprivileged>) -> Result<PathBuf> {
    match user {
        Some(user) if !user.can_reach(folder) => {
            let mut hasher = DefaultHasher::new();
            folder.hash(&mut hasher);
            let place = open_folder(Path::new(OPEN_PLACE))?;
            open_folder(&place.join(format!("{:016x}", hasher.finish())))
        }
        _ => Ok(folder.to_owned()),
    }
}

/// Creates `folder` with mode 0755, independent of the umask.
fn open_folder(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Unprivileged = Unprivileged { uid: 65_534, gid: 65_534 };

    #[test]
    fn a_folder_below_a_closed_one_is_out_of_reach() {
        let top = std::env::temp_dir().join(format!("devstack-reach-{}", std::process::id()));
        let inner = top.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(NOBODY.can_reach(&inner.join("not-there-yet")));
        fs::set_permissions(&top, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!NOBODY.can_reach(&inner));
        fs::remove_dir_all(&top).unwrap();
    }
}
