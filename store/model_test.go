package store

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/crashfs"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"
)

var crashes = flag.Int("crashes", 200, "how many crashes the model test goes through")

// universe is the blocks of a model test. Links go from later blocks to earlier
// ones.
type universe struct {
	blocks []block.Block
	links  [][]int // of each block, by its codec
	index  map[node]int
}

func newUniverse(h harness, rng *rand.Rand) *universe {
	u := &universe{index: map[node]int{}}
	add := func(b block.Block, links ...int) int {
		u.index[nodeOf(b.CID())] = len(u.blocks)
		u.blocks = append(u.blocks, b)
		slices.Sort(links)
		u.links = append(u.links, slices.Compact(links))
		return len(u.blocks) - 1
	}
	for i := range 16 {
		add(h.random(rng, []int{0, 10, 1000, 3000, 9000}[rng.IntN(5)]+i))
	}
	add(h.random(rng, 200<<10)) // larger than a pack
	// Bytes that dag-cbor can't decode, and bytes under an unknown codec.
	bad, err := block.New(block.DagCBOR, []byte{0xff, 0xff, byte(rng.Uint32())})
	h.ok(err)
	add(bad)
	unknown, err := block.New(0x300001, []byte{1, 2, byte(rng.Uint32())})
	h.ok(err)
	add(unknown)
	for i := range 24 {
		var to []int
		var cids []cid.Cid
		for range 1 + rng.IntN(5) {
			j := rng.IntN(len(u.blocks))
			to = append(to, j)
			cids = append(cids, u.blocks[j].CID())
		}
		if rng.IntN(4) == 0 {
			// A link inside of an identity CID.
			j := rng.IntN(len(u.blocks))
			inner := h.link("i", u.blocks[j].CID())
			id, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: block.DagCBOR, MhType: block.Identity, MhLength: -1}, inner.Data())
			h.ok(err)
			to, cids = append(to, j), append(cids, id.CID())
		}
		b := h.link(fmt.Sprint(i, rng.Uint64()), cids...)
		n := add(b, to...)
		if rng.IntN(4) == 0 {
			// The same bytes as a leaf.
			add(b.WithCodec(block.Raw))
			_ = n
		}
	}
	return u
}

// reachable returns the blocks that can be reached from roots through blocks
// that are present.
func (u *universe) reachable(roots []int, present map[int]bool) map[int]bool {
	seen := map[int]bool{}
	var visit func(int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		if present[i] {
			for _, j := range u.links[i] {
				visit(j)
			}
		}
	}
	for _, r := range roots {
		visit(r)
	}
	return seen
}

// same returns all blocks with the bytes of i.
func (u *universe) same(i int) []int {
	var out []int
	for j, b := range u.blocks {
		if string(b.CID().Hash()) == string(u.blocks[i].CID().Hash()) {
			out = append(out, j)
		}
	}
	return out
}

// facts is the state that a store must have at some moment.
type facts struct {
	aliases map[string]int
	held    map[string]int
	space   map[string]string
	must    map[int]bool // blocks that must be here
}

func (f facts) clone() facts {
	g := facts{aliases: map[string]int{}, held: map[string]int{}, space: map[string]string{}, must: map[int]bool{}}
	for k, v := range f.aliases {
		g.aliases[k] = v
	}
	for k, v := range f.held {
		g.held[k] = v
	}
	for k, v := range f.space {
		g.space[k] = v
	}
	for k, v := range f.must {
		g.must[k] = v
	}
	return g
}

// machine runs random operations on a store and on its model.
type machine struct {
	harness
	*rapid.T
	u       *universe
	fs      *crashfs.FS
	s       *Store
	now     facts
	pins    []*TempPin
	pinned  [][]int
	crashed *int
	log     []string
}

func (m *machine) Helper() {}

var modelOptions = Options{PackSize: 64 << 10, Reserve: -1, RecordedSpaces: []string{"kept"}}

func (m *machine) fatal(format string, args ...any) {
	tail := m.log[max(0, len(m.log)-25):]
	m.T.Fatalf("%s\nlast operations:\n  %s", fmt.Sprintf(format, args...), strings.Join(tail, "\n  "))
}

func (m *machine) check(err error) {
	if err != nil {
		m.fatal("%v", err)
	}
}

// checkButLoss accepts the error that blocks which were put, but not made durable,
// were lost by an error of the disk. The first Flush or Close after it returns that.
func (m *machine) checkButLoss(err error) {
	if errors.Is(err, ErrBatchLost) {
		m.log = append(m.log, "  returned: "+err.Error())
		return
	}
	m.check(err)
}

func (m *machine) open() {
	o := modelOptions
	o.fs = m.fs
	s, err := Open(m.ctx, "repo", o)
	m.check(err)
	m.fs.Hang() // calls that run when the power is cut don't return
	m.s = s
	m.pins, m.pinned = nil, nil
}

// attempt runs an operation that changes the store from m.now to next, while the
// power may be cut or calls may fail. It returns false if that happened; m.now is
// then the state of the two that the store has.
func (m *machine) attempt(what string, next facts, f func(*Store) error) bool {
	m.log = append(m.log, what)
	result := make(chan error, 1)
	s := m.s
	go func() { result <- f(s) }()
	var err error
	select {
	case err = <-result:
		if m.fs.Crashed() && err == nil {
			// It was acknowledged before the power was cut.
			m.now = next
			m.recover(next, next)
			return false
		}
	case <-m.fs.Dead():
		select {
		case err = <-result:
		default:
			err = crashfs.ErrCrashed
		}
		if err == nil {
			m.now = next
		}
	}
	if err != nil {
		m.fs.CrashAfter(0) // not during the comparison
	}
	if m.fs.Crashed() {
		m.recover(m.now, next)
		return false
	}
	if err == nil {
		m.now = next
		return true
	}
	m.log = append(m.log, "  failed: "+err.Error())
	m.fs.Fail(nil)
	m.fs.Full(-1)
	if m.s.index.err() != nil {
		// The index has failed. What was written may be there.
		m.close()
		m.recover(m.now, next)
		return false
	}
	// Otherwise the store has gone back to its last flush, and continues.
	m.settleOn("after an error", m.now, next)
	return false
}

// close closes the store, unless the power is cut meanwhile.
func (m *machine) close() {
	done := make(chan error, 1)
	s := m.s
	go func() { done <- s.Close() }()
	select {
	case <-done:
	case <-m.fs.Dead():
	}
}

// recover opens what the crash left, which must be one of the two states.
func (m *machine) recover(before, after facts) {
	*m.crashed++
	m.fs = m.fs.Crash()
	m.log = append(m.log, "  crash")
	m.open()
	m.settleOn("after a crash", before, after)
	m.audit()
}

// settleOn finds out which of two states the store is in.
func (m *machine) settleOn(when string, before, after facts) {
	errBefore := m.compare(before)
	if errBefore == nil {
		m.now = before
		return
	}
	if errAfter := m.compare(after); errAfter != nil {
		m.fatal("%s: the state is neither the one before (%v) nor the one after (%v)", when, errBefore, errAfter)
	}
	m.now = after
}

// compare reports whether the store has the state f.
func (m *machine) compare(want facts) error {
	got := map[string]int{}
	for a, err := range m.s.Aliases(m.ctx, "") {
		if err != nil {
			return err
		}
		got[a.Name] = m.u.index[nodeOf(a.Root)]
	}
	if fmt.Sprint(got) != fmt.Sprint(want.aliases) {
		return fmt.Errorf("aliases: got %v, want %v", got, want.aliases)
	}
	space := map[string]string{}
	for item, err := range m.s.Space("kept").All(m.ctx, nil) {
		if err != nil {
			return err
		}
		space[string(item.Key)] = string(item.Value)
	}
	if fmt.Sprint(space) != fmt.Sprint(want.space) {
		return fmt.Errorf("space: got %v, want %v", space, want.space)
	}
	for i := range want.must {
		b := m.u.blocks[i]
		k, err := m.s.Get(m.ctx, b.CID())
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if string(k.Data()) != string(b.Data()) {
			return fmt.Errorf("block %d has other bytes", i)
		}
	}
	return nil
}

func (m *machine) present() map[int]bool {
	present := map[int]bool{}
	for i, b := range m.u.blocks {
		ok, err := m.s.Has(m.ctx, b.CID())
		m.check(err)
		if ok {
			present[i] = true
		}
	}
	return present
}

// known returns the blocks whose links the store knows: those that are here, and
// those that were here while they were live.
func (m *machine) known(present map[int]bool) map[int]bool {
	known := maps.Clone(present)
	for i, b := range m.u.blocks {
		n := nodeOf(b.CID())
		r, err := m.s.lookup(n.mh)
		m.check(err)
		if f, _ := r.find(n.codec); f.expanded() {
			known[i] = true
		}
	}
	return known
}

func (m *machine) roots() []int { return m.rootsOf(m.now) }

func (m *machine) rootsOf(f facts) []int {
	var roots []int
	for _, r := range f.aliases {
		roots = append(roots, r)
	}
	for _, r := range f.held {
		roots = append(roots, r)
	}
	for _, p := range m.pinned {
		roots = append(roots, p...)
	}
	return roots
}

// audit verifies the store, and compares what it wants with what the model computes.
func (m *machine) audit() {
	rep, err := m.s.Verify(m.ctx, VerifyOptions{Data: true})
	m.check(err)
	if !rep.OK() {
		m.fatal("verify: damaged %v, wrong %s", rep.Damaged, strings.Join(rep.Wrong, "\n"))
	}
	var got, want []int
	present := map[int]bool{}
	for held := -1; held != len(m.now.held); {
		// The store may release a former root at any moment.
		m.syncHeld()
		held = len(m.now.held)
		m.check(m.s.settle(m.ctx, workExpand, workCollapse))
		got, want, present = nil, nil, m.present()
		for i := range m.u.reachable(m.roots(), m.known(present)) {
			if !present[i] {
				want = append(want, i)
			}
		}
		slices.Sort(want)
		for c, err := range m.s.Wanted(m.ctx) {
			m.check(err)
			got = append(got, m.u.index[nodeOf(c)])
		}
		slices.Sort(got)
		m.syncHeld()
	}
	if !slices.Equal(got, want) {
		m.fatal("wanted: got %v, want %v", got, want)
	}
	for name, root := range m.now.aliases {
		var got, want []int
		for i := range m.u.reachable([]int{root}, m.known(present)) {
			if !present[i] {
				want = append(want, i)
			}
		}
		slices.Sort(want)
		for c, err := range m.s.Missing(m.ctx, m.u.blocks[root].CID(), Selection{}) {
			m.check(err)
			got = append(got, m.u.index[nodeOf(c)])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			m.fatal("missing below %s: got %v, want %v", name, got, want)
		}
	}
}

// syncHeld finds out which former roots the store has released, and checks that it
// might.
func (m *machine) syncHeld() {
	for name := range m.now.held {
		a, err := m.s.GetAlias(m.ctx, name)
		m.check(err)
		if a.Held.Defined() {
			// It may have released one, and then got another.
			m.now.held[name] = m.u.index[nodeOf(a.Held)]
			continue
		}
		for c, err := range m.s.Missing(m.ctx, a.Root, Selection{}) {
			m.check(err)
			m.fatal("alias %s let its former root go, though %s is missing", name, c)
		}
		delete(m.now.held, name)
	}
}

// calm ends planned faults, and handles their effects in the background.
func (m *machine) calm() {
	m.fs.CrashAfter(0)
	m.fs.Fail(nil)
	if m.fs.Crashed() || m.s.index.err() != nil {
		m.close()
		m.recover(m.now, m.now)
	}
}

func (m *machine) some(label string, most int) []int {
	return rapid.SliceOfN(rapid.IntRange(0, len(m.u.blocks)-1), 1, most).Draw(m.T, label)
}

func (m *machine) name() string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(m.T, "name")
}

// root draws a block that may be a root: one whose codec is known.
func (m *machine) root() int {
	i := rapid.IntRange(0, len(m.u.blocks)-1).Draw(m.T, "root")
	if m.u.blocks[i].CID().Prefix().Codec == 0x300001 {
		return 0
	}
	return i
}

func (f facts) put(u *universe, which []int) {
	for _, i := range which {
		for _, j := range u.same(i) {
			f.must[j] = true
		}
	}
}

func (f facts) alias(name string, root int, hold bool) {
	old, had := f.aliases[name]
	held, holds := f.held[name]
	delete(f.held, name)
	if hold && had {
		switch {
		case old == root:
			if holds {
				f.held[name] = held
			}
		case holds:
			f.held[name] = held
		default:
			f.held[name] = old
		}
	}
	f.aliases[name] = root
}

func (m *machine) blocksOf(which []int) []block.Block {
	var out []block.Block
	for _, i := range which {
		out = append(out, m.u.blocks[i])
	}
	return out
}

func (m *machine) actions() map[string]func(*rapid.T) {
	act := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) {
			m.T = t
			f()
		}
	}
	return map[string]func(*rapid.T){
		"put": act(func() {
			which := m.some("blocks", 6)
			m.attempt(fmt.Sprint("put ", which), m.now.clone(), func(s *Store) error { return s.Put(m.ctx, m.blocksOf(which)...) })
		}),
		"flush": act(func() {
			which := m.some("blocks", 6)
			next := m.now.clone()
			next.put(m.u, which)
			m.attempt(fmt.Sprint("put and flush ", which), next, func(s *Store) error {
				if err := s.Put(m.ctx, m.blocksOf(which)...); err != nil {
					return err
				}
				return s.Flush(m.ctx)
			})
		}),
		"batch": act(func() {
			which := m.some("blocks", 10)
			next := m.now.clone()
			next.put(m.u, which)
			b := m.s.Batch()
			what := fmt.Sprint("batch ", which)
			for range rapid.IntRange(0, 3).Draw(m.T, "changes") {
				name, root, hold := m.name(), m.root(), rapid.Bool().Draw(m.T, "hold")
				next.alias(name, root, hold)
				b.Alias(name, m.u.blocks[root].CID(), AliasOptions{Hold: hold})
				what += fmt.Sprintf(", %s = %d (hold %v)", name, root, hold)
			}
			if rapid.Bool().Draw(m.T, "set") {
				key, value := m.name(), fmt.Sprint(rapid.IntRange(0, 99).Draw(m.T, "value"))
				next.space[key] = value
				b.Set("kept", []byte(key), []byte(value))
				what += fmt.Sprintf(", %s: %s", key, value)
			}
			discard := rapid.IntRange(0, 4).Draw(m.T, "discard") == 0
			if discard {
				next, what = m.now.clone(), "discarded "+what
			}
			m.attempt(what, next, func(s *Store) error {
				defer b.Discard()
				if err := b.Put(m.ctx, m.blocksOf(which)...); err != nil || discard {
					return err
				}
				return b.Commit(m.ctx)
			})
		}),
		"alias": act(func() {
			name, root, hold := m.name(), m.root(), rapid.Bool().Draw(m.T, "hold")
			next := m.now.clone()
			next.alias(name, root, hold)
			m.attempt(fmt.Sprintf("alias %s = %d (hold %v)", name, root, hold), next, func(s *Store) error {
				return s.SetAlias(m.ctx, name, m.u.blocks[root].CID(), AliasOptions{Hold: hold})
			})
		}),
		"unalias": act(func() {
			name := m.name()
			next := m.now.clone()
			if _, ok := next.aliases[name]; !ok {
				return
			}
			delete(next.aliases, name)
			delete(next.held, name)
			m.attempt("unalias "+name, next, func(s *Store) error { return s.RemoveAlias(m.ctx, name) })
		}),
		"pin": act(func() {
			root := m.root()
			p := m.s.TempPin()
			if m.attempt(fmt.Sprint("pin ", root), m.now.clone(), func(s *Store) error { return p.Add(m.ctx, m.u.blocks[root].CID()) }) {
				m.pins, m.pinned = append(m.pins, p), append(m.pinned, []int{root})
			}
		}),
		"unpin": act(func() {
			if len(m.pins) == 0 {
				return
			}
			p := m.pins[0]
			if m.attempt("unpin", m.now.clone(), func(s *Store) error { return p.Release(m.ctx) }) {
				m.pins, m.pinned = m.pins[1:], m.pinned[1:]
			}
		}),
		"evict": act(func() {
			m.calm()
			m.syncHeld()
			target := rapid.SampledFrom([]int64{0, 0, 100 << 10, 300 << 10}).Draw(m.T, "target")
			// A former root whose successor is whole may be released at any moment.
			next := m.now.clone()
			mayGo := len(m.now.held) > 0
			sure := m.now.clone()
			for name := range m.now.held {
				whole, present := true, m.present()
				for i := range m.u.reachable([]int{m.now.aliases[name]}, present) {
					whole = whole && present[i]
				}
				if whole {
					delete(sure.held, name)
				}
			}
			live := m.u.reachable(m.rootsOf(sure), m.now.must)
			for i := range next.must {
				keep := false
				for _, j := range m.u.same(i) {
					keep = keep || live[j]
				}
				if !keep {
					delete(next.must, i)
				}
			}
			// Blocks may be evicted even if the eviction fails.
			m.now = next.clone()
			if !m.attempt(fmt.Sprint("evict to ", target), next, func(s *Store) error {
				_, err := s.Evict(m.ctx, EvictOptions{Target: target})
				return err
			}) || target > 0 {
				return
			}
			present := m.present()
			m.syncHeld()
			live = m.u.reachable(m.roots(), m.known(present))
			for i := range present {
				keep := false
				for _, j := range m.u.same(i) {
					keep = keep || live[j]
				}
				if !keep && !mayGo {
					m.fatal("block %d is garbage and still here", i)
				}
			}
		}),
		"delete": act(func() {
			i := rapid.IntRange(0, len(m.u.blocks)-1).Draw(m.T, "block")
			next := m.now.clone()
			for _, j := range m.u.same(i) {
				delete(next.must, j)
			}
			before := m.now
			m.now = next.clone() // if it fails, either state
			refused := false
			if m.attempt(fmt.Sprint("delete ", i), next, func(s *Store) error {
				err := s.Delete(m.ctx, m.u.blocks[i].CID())
				if refused = errors.Is(err, ErrLive); refused {
					return nil
				}
				return err
			}) && refused {
				m.now = before
			}
		}),
		"damage": act(func() {
			m.calm()
			// A whole DAG is damaged: no former root may be released meanwhile.
			if m.syncHeld(); len(m.now.held) > 0 {
				return
			}
			m.checkButLoss(m.s.Flush(m.ctx))
			i := rapid.IntRange(0, len(m.u.blocks)-1).Draw(m.T, "block")
			f, err := m.s.locate(string(m.u.blocks[i].CID().Hash()))
			m.check(err)
			if f.loc.kind != locPack || f.loc.size == 0 {
				return
			}
			at := f.loc.off + int64(f.loc.head+rapid.IntRange(0, f.loc.size-1).Draw(m.T, "at"))
			m.check(m.fs.Corrupt(m.s.packs.Path(f.loc.pack), at, 0x10))
			m.log = append(m.log, fmt.Sprint("damage ", i))
			for _, j := range m.u.same(i) {
				delete(m.now.must, j)
			}
			rep, err := m.s.Verify(m.ctx, VerifyOptions{Data: true, Repair: true})
			m.check(err)
			if rep.DamagedBlocks != 1 || rep.WrongFacts != 0 {
				m.fatal("verify after damage to block %d: damaged %v, wrong %v", i, rep.Damaged, rep.Wrong)
			}
		}),
		"reopen": act(func() {
			m.calm()
			m.log = append(m.log, "reopen")
			m.checkButLoss(m.s.Close())
			m.open()
			if err := m.compare(m.now); err != nil {
				m.fatal("after reopening: %v", err)
			}
		}),
		"audit": act(func() {
			m.calm()
			m.log = append(m.log, "audit")
			m.audit()
		}),
		"rebuild": act(func() {
			m.calm()
			m.log = append(m.log, "rebuild")
			m.checkButLoss(m.s.Close())
			o := modelOptions
			o.fs = m.fs
			rb, err := Rebuild(m.ctx, "repo", o, nil)
			m.check(err)
			m.open()
			if err := m.compare(m.now); err != nil {
				m.fatal("after a rebuild that found %+v: %v", rb, err)
			}
			m.audit()
		}),
		"crash soon": act(func() {
			n := rapid.IntRange(1, 60).Draw(m.T, "calls")
			m.log = append(m.log, fmt.Sprint("crash after ", n))
			m.fs.CrashAfter(n)
		}),
		"crash now": act(func() {
			m.log = append(m.log, "crash now")
			m.recover(m.now, m.now)
		}),
		"fail soon": act(func() {
			n := rapid.IntRange(1, 20).Draw(m.T, "calls")
			op := rapid.SampledFrom([]crashfs.Op{crashfs.OpSync, crashfs.OpWrite, crashfs.OpWriteAt, crashfs.OpCreate, crashfs.OpRead}).Draw(m.T, "op")
			m.log = append(m.log, fmt.Sprintf("fail %v number %d", op, n))
			m.fs.FailAt(n, syscall.EIO, op)
		}),
	}
}

// TestModel runs random operations, with crashes and errors of the disk, on a store
// and on a model that computes its whole state each time.
func TestModel(t *testing.T) {
	crashed, runs, want := 0, 0, *crashes
	if testing.Short() {
		want /= 4
	}
	for crashed < want && !t.Failed() {
		runs++
		rapid.Check(t, func(rt *rapid.T) {
			seed := rapid.Uint64().Draw(rt, "seed")
			h := newHarness(t)
			m := &machine{harness: h, T: rt, crashed: &crashed, fs: crashfs.New(seed)}
			m.u = newUniverse(h, rand.New(rand.NewPCG(seed, 1)))
			m.now = facts{}.clone()
			m.open()
			rt.Repeat(m.actions())
			m.calm()
			m.checkButLoss(m.s.Close())
		})
	}
	t.Logf("%d crashes in %d runs, %d goroutines", crashed, runs, runtime.NumGoroutine())
}
