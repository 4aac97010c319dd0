//! A disk in memory that knows what was synced: its power can be cut after any number of operations and bytes, and any
//! operation can be refused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use taskvec_runtime::{Disk, DiskFile};

use crate::made::Numbers;

/// Errors as Linux numbers them.
pub(crate) const EIO: i32 = 5;
pub(crate) const EACCES: i32 = 13;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// Clones share the disk, as processes do.
#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    state: Arc<Mutex<State>>,
    unlocked: Arc<Condvar>,
}

#[derive(Clone, Debug)]
struct State {
    nodes: Vec<Node>,
    faults: Faults,
    /// Operations since the faults were set.
    operations: u64,
    /// One for each operation and one for each byte written, since the faults were set.
    spent: u64,
    /// Syncs of folders since the faults were set.
    folder_syncs: u64,
    is_locked: bool,
}

/// A file or a folder: what is seen, and what would be found after a power cut. A folder maps names to numbers of nodes.
#[derive(Clone, Debug)]
enum Node {
    File { seen: Vec<u8>, durable: Vec<u8>, is_read_only: bool },
    Folder { seen: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The power goes when this much is spent: nothing works from then on.
    pub(crate) power_for: Option<u64>,
    /// From this operation on nothing works: the process is gone.
    pub(crate) killed_at: Option<u64>,
    /// This operation is refused with this error.
    pub(crate) refuse: Option<(u64, i32)>,
    /// And all that change something after it.
    pub(crate) refuse_from_then_on: bool,
    /// No write takes more bytes than this.
    pub(crate) write_bytes_max: Option<usize>,
    pub(crate) ignored: Ignored,
}

/// Syncs that do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ignored {
    #[default]
    None,
    Files,
    Folders,
    /// Only the first sync of a folder does nothing.
    FirstOfFolders,
}

/// What is found of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    /// Names, and of the bytes none: what ext4 leaves with `noauto_da_alloc`.
    Names,
    NamesAndHalfOfTheBytes,
    /// The process was killed and the power stayed.
    Everything,
    /// Each name by itself or not, and some of the bytes.
    ByChance(u64),
}

const ROOT: usize = 0;

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self::of(State {
            nodes: vec![folder()],
            faults: Faults::default(),
            operations: 0,
            spent: 0,
            folder_syncs: 0,
            is_locked: false,
        })
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), unlocked: Arc::new(Condvar::new()) }
    }

    /// A disk of its own with the same content, seen and durable.
    pub(crate) fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.is_locked = false;
        Self::of(state)
    }

    /// From now on these go wrong.
    pub(crate) fn set(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.operations, state.spent, state.folder_syncs) = (faults, 0, 0, 0);
    }

    /// Operations, and what a power cut is counted in, since faults were set.
    pub(crate) fn spent(&self) -> (u64, u64) {
        let state = self.state();
        (state.operations, state.spent)
    }

    /// The disk as it is found when the power comes back.
    pub(crate) fn after_power_cut(&self, survives: Survives) -> Self {
        let mut state = self.state().clone();
        let mut chance = Numbers(match survives {
            Survives::ByChance(seed) => seed,
            _ => 0,
        });
        for node in &mut state.nodes {
            match node {
                Node::File { seen, durable, .. } => {
                    if seen != durable {
                        let left = match survives {
                            Survives::Everything => seen.len(),
                            Survives::NamesAndHalfOfTheBytes => seen.len() / 2,
                            Survives::ByChance(_) => chance.below(seen.len() as u64 + 1) as usize,
                            Survives::Nothing | Survives::Names => 0,
                        };
                        *durable = if left == 0 { durable.clone() } else { seen[..left].to_vec() };
                    }
                    *seen = durable.clone();
                }
                Node::Folder { seen, durable } => {
                    match survives {
                        Survives::Nothing => {}
                        Survives::ByChance(_) => {
                            let names: Vec<String> = seen.keys().chain(durable.keys()).cloned().collect();
                            for name in names {
                                if chance.below(2) == 0 {
                                    match seen.get(&name) {
                                        Some(&node) => durable.insert(name, node),
                                        None => durable.remove(&name),
                                    };
                                }
                            }
                        }
                        _ => *durable = seen.clone(),
                    }
                    *seen = durable.clone();
                }
            }
        }
        (state.faults, state.is_locked) = (Faults::default(), false);
        Self::of(state)
    }

    /// Flips a bit in the middle of the file.
    pub(crate) fn rot(&self, path: &Path) {
        let mut state = self.state();
        let node = state.find(path).expect("a file that can rot is there");
        if let Node::File { seen, durable, .. } = &mut state.nodes[node] {
            let middle = seen.len() / 2;
            seen[middle] ^= 4;
            *durable = seen.clone();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds a disk")
    }
}

fn folder() -> Node {
    Node::Folder { seen: BTreeMap::new(), durable: BTreeMap::new() }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl State {
    /// One operation: refused if it is its turn, or if the power is gone.
    fn operation(&mut self, changes: bool) -> io::Result<()> {
        let (at, from_then_on) = (self.operations, self.faults.refuse_from_then_on && changes);
        self.operations += 1;
        self.spend(1)?;
        if self.faults.killed_at.is_some_and(|killed_at| at >= killed_at) {
            return Err(error(EIO));
        }
        match self.faults.refuse {
            Some((turn, number)) if at == turn || (from_then_on && at > turn) => Err(error(number)),
            _ => Ok(()),
        }
    }

    fn spend(&mut self, units: u64) -> io::Result<()> {
        self.spent += units;
        match self.faults.power_for {
            Some(most) if self.spent > most => Err(error(EIO)),
            _ => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let name = name.to_str().expect("the store's names are ASCII");
                node = *self.names(node)?.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(node)
    }

    fn names(&self, node: usize) -> io::Result<&BTreeMap<String, usize>> {
        match &self.nodes[node] {
            Node::Folder { seen, .. } => Ok(seen),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The names in the folder of `path`, and the last part of it.
    fn slot(&mut self, path: &Path) -> io::Result<(&mut BTreeMap<String, usize>, String)> {
        let parent = self.find(path.parent().expect("a path of the store has a parent"))?;
        let name = path.file_name().and_then(|name| name.to_str()).expect("the store's names are ASCII").to_owned();
        match &mut self.nodes[parent] {
            Node::Folder { seen, .. } => Ok((seen, name)),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let number = self.nodes.len();
        self.nodes.push(node);
        let (names, name) = self.slot(path)?;
        names.insert(name, number);
        Ok(number)
    }
}

impl Disk for MemoryDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.find(path).is_ok() {
            return Ok(());
        }
        state.operation(true)?;
        state.add(path, folder()).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.operation(true)?;
        let node = state.add(path, Node::File { seen: Vec::new(), durable: Vec::new(), is_read_only: false })?;
        Ok(Box::new(MemoryFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        let (names, name) = state.slot(from)?;
        let node = names.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        let (names, name) = state.slot(to)?;
        names.insert(name, node);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        let node = state.find(folder)?;
        state.folder_syncs += 1;
        let is_ignored = match state.faults.ignored {
            Ignored::Folders => true,
            Ignored::FirstOfFolders => state.folder_syncs == 1,
            Ignored::None | Ignored::Files => false,
        };
        if !is_ignored && let Node::Folder { seen, durable } = &mut state.nodes[node] {
            *durable = seen.clone();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        let (names, name) = state.slot(path)?;
        names.remove(&name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.operation(false)?;
        let node = state.find(folder)?;
        Ok(state.names(node)?.keys().cloned().collect())
    }

    fn read(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.operation(false)?;
        let node = state.find(path)?;
        match &state.nodes[node] {
            Node::File { seen, .. } => Ok(seen.clone()),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let mut state = self.state();
        state.operation(false)?;
        if state.find(path).is_err() {
            state.add(path, Node::File { seen: Vec::new(), durable: Vec::new(), is_read_only: false })?;
        }
        while state.is_locked {
            state = self.unlocked.wait(state).expect("no test panics while it holds a disk");
        }
        state.is_locked = true;
        Ok(Box::new(Held(self.clone())))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    node: usize,
}

impl DiskFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.operation(true)?;
        let bytes = &bytes[..bytes.len().min(state.faults.write_bytes_max.unwrap_or(usize::MAX))];
        for &byte in bytes {
            state.spend(1)?;
            if let Node::File { seen, is_read_only: false, .. } = &mut state.nodes[self.node] {
                seen.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn make_read_only(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation(true)?;
        if let Node::File { is_read_only, .. } = &mut state.nodes[self.node] {
            *is_read_only = true;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation(true)?;
        if state.faults.ignored != Ignored::Files
            && let Node::File { seen, durable, .. } = &mut state.nodes[self.node]
        {
            *durable = seen.clone();
        }
        Ok(())
    }
}

/// The lock, held.
struct Held(MemoryDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().is_locked = false;
        self.0.unlocked.notify_one();
    }
}
