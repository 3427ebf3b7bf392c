// Keeps who is in a topic with presence: `onUsers(names)` is told at first and whenever it changes. `ask` is
// that of `follow`. Call `load` whenever the state is "open", and `changed` for what `onPresence` gives.
function roster(topic, ask, onUsers) {
  let users = new Set(), seq, early = [], loads = 0;

  async function load() {
    const own = ++loads;
    const found = new Set();
    let page, first, after = "";
    seq = undefined;
    early = [];
    do {
      page = (await ask({ type: "query", params: { query: "presence", event: topic, after } })).result;
      if (own !== loads) return;
      first ??= page.presence_seq; // the pages may be of different moments: all since the first one counts
      for (const { user } of page.users) found.add(after = user);
    } while (page.more);
    [users, seq] = [found, first];
    onUsers([...users]);
    early.forEach((change) => changed(...change));
  }

  function changed({ action, user }, number) {
    if (seq === undefined) return early.push([{ action, user }, number]);
    if (number <= seq) return;
    if (number > seq + 1) return loadOrWait(); // one is missing
    seq = number;
    if (action === "join") users.add(user);
    else users.delete(user);
    onUsers([...users]);
  }

  // What cannot be asked is asked on the next connection.
  const loadOrWait = () => load().catch(() => {});
  return { load: loadOrWait, changed };
}
