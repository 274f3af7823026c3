package crashfs

import "math/rand/v2"

// page is the unit in which the kernel writes files back, in bytes.
const page = 4096

// Crash cuts the power: it returns a file system that a restart could find, and
// makes this one dead. The seed decides, for each call anew, how much of what was
// not synced survives: nothing, everything, or some. Locks are released; faults and
// counts are reset.
//
// It may be called again on a dead FS, for another possible outcome.
func (fs *FS) Crash() *FS {
	fs.mu.Lock()
	keep := []int{0, 25, 50, 75, 100}[fs.rng.IntN(5)]
	fs.mu.Unlock()
	return fs.CrashKeeping(keep)
}

// CrashKeeping is Crash with a given probability, in percent, that something not
// synced survives: with 0 only synced data are there, with 100 everything.
func (fs *FS) CrashKeeping(percent int) *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.Crashed() {
		close(fs.dead)
	}
	c := &crash{rng: fs.rng, keep: percent, done: make(map[*node]*node)}
	c.ordered = c.rng.IntN(2) == 0
	survivor := newFS(fs.rng.Uint64(), c.tree(fs.root, c.names(fs.log)))
	survivor.used = c.used
	return survivor
}

// CrashAfter cuts the power at the nth mutating call from now. That call and all
// later ones fail with ErrCrashed, though that call may have taken effect. Crash
// then returns what is left. n ≤ 0 cancels it.
func (fs *FS) CrashAfter(n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults.untilStop = max(0, n)
}

// Dead returns a channel that is closed when the power is cut.
func (fs *FS) Dead() <-chan struct{} { return fs.dead }

// Crashed reports whether the power is cut.
func (fs *FS) Crashed() bool {
	select {
	case <-fs.dead:
		return true
	default:
		return false
	}
}

// Hang makes calls that would fail with ErrCrashed never return, as for a process
// that loses power. It is for code that panics at errors of the file system. The
// calling goroutines are lost, and the test has to watch Dead.
func (fs *FS) Hang() { fs.hangs.Store(true) }

// A crash computes one outcome.
type crash struct {
	rng     *rand.Rand
	keep    int  // percent
	ordered bool // the first dirty bytes of a file survive
	done    map[*node]*node
	used    int64
}

// chance is true in percent cases of a hundred.
func (c *crash) chance(percent int) bool { return c.rng.IntN(100) < percent }

// upTo picks how many of n ordered things survive.
func (c *crash) upTo(n int) int {
	switch c.keep {
	case 0:
		return 0
	case 100:
		return n
	}
	return c.rng.IntN(n + 1)
}

// names decides up to which one the unsynced changes survive, and returns the
// resulting entries of their directories.
func (c *crash) names(log []change) map[*node]map[string]entry {
	after := make(map[*node]map[string]entry)
	for _, ch := range log[:c.upTo(len(log))] {
		for _, e := range ch.edits {
			if after[e.dir] == nil {
				after[e.dir] = make(map[string]entry)
			}
			if e.dir.durable[e.name].seq < ch.seq {
				after[e.dir][e.name] = entry{e.node, ch.seq}
			}
		}
	}
	return after
}

// tree copies what survives of a node and all below it. A file with several names
// stays one file.
func (c *crash) tree(n *node, after map[*node]map[string]entry) *node {
	if !n.isDir() {
		if c.done[n] == nil {
			c.done[n] = c.file(n)
		}
		return c.done[n]
	}
	m := newDir()
	m.modTime = n.modTime
	entries := make(map[string]*node)
	for name, e := range n.durable {
		entries[name] = e.node
	}
	for name, e := range after[n] {
		entries[name] = e.node
	}
	// In order, so that equal seeds give equal outcomes.
	for _, name := range sorted(entries) {
		if entries[name] == nil {
			continue // removed
		}
		child := c.tree(entries[name], after)
		child.links++
		m.children[name] = child
		m.durable[name] = entry{node: child}
	}
	return m
}

// file copies what survives of a file.
func (c *crash) file(n *node) *node {
	data := append([]byte(nil), n.disk...)
	if n.floor < len(data) && c.chance(c.keep) {
		data = data[:n.floor]
	}
	for _, s := range c.survivors(n.dirty) {
		if s.to > len(data) {
			data = resize(data, s.to)
		}
		copy(data[s.from:s.to], n.data[s.from:s.to])
	}
	// The size may be on the medium before the bytes are.
	if len(n.data) > len(data) && c.chance(c.keep) {
		data = resize(data, len(n.data))
	}
	c.used += int64(len(data))
	return &node{
		modTime: n.modTime,
		data:    data,
		disk:    append([]byte(nil), data...),
		floor:   len(data),
	}
}

// survivors decides which dirty bytes are on the medium.
func (c *crash) survivors(dirty []span) []span {
	total := 0
	for _, s := range dirty {
		total += s.to - s.from
	}
	var kept []span
	if c.ordered {
		left := c.upTo(total)
		for _, s := range dirty {
			n := min(left, s.to-s.from)
			if n == 0 {
				break
			}
			kept = append(kept, span{s.from, s.from + n})
			left -= n
		}
		return kept
	}
	for _, s := range dirty {
		for from := s.from; from < s.to; {
			to := min(s.to, (from/page+1)*page)
			if c.chance(c.keep) {
				kept = append(kept, c.tear(span{from, to}))
			}
			from = to
		}
	}
	return kept
}

// tear keeps, one time in four, only the start or the end of a write to one page.
func (c *crash) tear(s span) span {
	if c.keep == 100 || s.to-s.from < 2 || !c.chance(25) {
		return s
	}
	cut := s.from + 1 + c.rng.IntN(s.to-s.from-1)
	if c.chance(50) {
		return span{s.from, cut}
	}
	return span{cut, s.to}
}
