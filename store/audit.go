package store

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// An audit computes what the index should contain, and compares.
type audit struct {
	s     *Store
	ctx   context.Context
	rep   *Report
	snap  *pebble.Snapshot
	infos map[pack.ID]packInfo
	fixes []func(*committer) error
}

// maxFixes bounds the repairs of one audit; another audit repairs the rest.
const maxFixes = 1 << 20

func (a *audit) fix(f func(*committer) error) {
	if len(a.fixes) < maxFixes {
		a.fixes = append(a.fixes, f)
	}
}

// run audits a snapshot that has no overlay above it.
func (a *audit) run() error {
	if err := a.s.begin(a.ctx); err != nil {
		return err
	}
	defer a.s.end()
	err := a.s.do(&op{frees: true, apply: func(c *committer) error {
		if err := c.publish(); err != nil {
			return err
		}
		if err := c.flush(true); err != nil {
			return err
		}
		a.snap = c.s.index.db.NewSnapshot()
		a.infos = map[pack.ID]packInfo{}
		for id, info := range c.infos {
			a.infos[id] = *info
		}
		return nil
	}})
	if err != nil {
		return err
	}
	defer a.s.index.drop(a.snap)
	refs := &sorter{fs: a.s.fs, dir: a.s.dir}
	defer refs.remove()
	if err := a.gather(refs); err != nil {
		return err
	}
	if err := a.compare(refs); err != nil {
		return err
	}
	return a.checkDue()
}

// gather collects all references: those of aliases, pins, and links.
func (a *audit) gather(refs *sorter) error {
	var ferr error
	add := func(nodes []node) bool {
		for _, n := range nodes {
			if ferr = refs.add(n.key(keyRow)[1:]); ferr != nil {
				return false
			}
		}
		if ferr = a.ctx.Err(); ferr != nil {
			return false
		}
		return true
	}
	err := scanAliases(a.snap, "", func(al *aliasRow) bool { return add(al.targets) && add(al.heldTargets) })
	if err = errors.Join(err, ferr); err != nil {
		return err
	}
	err = scan(a.snap, string(keyTempPin), "", func(_, v []byte) bool {
		d := decoder{p: v}
		return add(d.nodes())
	})
	if err = errors.Join(err, ferr); err != nil {
		return err
	}
	err = scan(a.snap, string(keyLinks), "", func(k, v []byte) bool {
		n, err := parseNode(k[1:])
		if err != nil {
			ferr = err
			return false
		}
		links, err := parseLinks(n, v)
		if err != nil {
			ferr = err
			return false
		}
		value, err := getFrom(a.snap, rowKey(n.mh))
		if err != nil {
			ferr = err
			return false
		}
		var f ref
		if value != nil {
			r, err := parseRow(value)
			if err != nil {
				ferr = err
				return false
			}
			f, _ = r.find(n.codec)
		}
		if f.flags&refHasLinks == 0 {
			a.rep.wrong("links are stored for %s, which is not expanded", n.cid())
			key := string(k)
			a.fix(func(c *committer) error { c.unset(key); return nil })
			return true
		}
		return add(links)
	})
	return errors.Join(err, ferr)
}

// compare reads rows and references side by side, both sorted.
func (a *audit) compare(refs *sorter) error {
	next, stop, err := refs.sorted()
	if err != nil {
		return err
	}
	defer stop()
	key, count, err := next()
	if err != nil {
		return err
	}
	packs := map[pack.ID]*packInfo{}
	var ferr error
	err = scanRows(a.snap, "", func(mh string, r *row) bool {
		if ferr = a.ctx.Err(); ferr != nil {
			return false
		}
		// References to nodes without a row.
		for key != "" && key < mh {
			if a.miscounted(key, 0, count); ferr != nil {
				return false
			}
			if key, count, ferr = next(); ferr != nil {
				return false
			}
		}
		expected := map[uint64]uint64{}
		for len(key) > len(mh) && key[:len(mh)] == mh {
			n, err := parseNode([]byte(key))
			if err != nil {
				ferr = err
				return false
			}
			expected[n.codec] = count
			if key, count, ferr = next(); ferr != nil {
				return false
			}
		}
		for _, f := range r.refs {
			n := node{mh, f.codec}
			if f.count != expected[f.codec] {
				a.miscounted(n.key(keyRow)[1:], f.count, expected[f.codec])
			}
			delete(expected, f.codec)
			if ferr = a.checkRef(n, r, f); ferr != nil {
				return false
			}
		}
		for codec, count := range expected {
			a.miscounted(node{mh, codec}.key(keyRow)[1:], 0, count)
		}
		if r.present() {
			a.rep.Blocks++
		}
		if r.loc.kind == locPack {
			p := packs[r.loc.pack]
			if p == nil {
				p = &packInfo{id: r.loc.pack}
				packs[r.loc.pack] = p
			}
			p.count(r.live(), 1, r.loc.section())
		}
		return true
	})
	if err = errors.Join(err, ferr); err != nil {
		return err
	}
	for key != "" {
		a.miscounted(key, 0, count)
		if key, count, err = next(); err != nil {
			return err
		}
	}
	a.comparePacks(packs)
	return nil
}

// miscounted reports a wrong count, and adds a fix. The fix adds the difference,
// for the count may have changed since the snapshot.
func (a *audit) miscounted(key string, has, should uint64) {
	n, err := parseNode([]byte(key))
	if err != nil {
		a.rep.wrong("there is a reference to %x, which is no multihash", key)
		return
	}
	a.rep.wrong("%s is counted %d times, and referred to %d times", n.cid(), has, should)
	a.fix(func(c *committer) error { return c.addCount(n, int64(should-has)) })
}

// checkRef checks that a ref's links are stored, and its queues.
func (a *audit) checkRef(n node, r *row, f ref) error {
	if f.flags&refHasLinks != 0 {
		value, err := getFrom(a.snap, n.key(keyLinks))
		if err != nil {
			return err
		}
		if value == nil {
			a.rep.wrong("%s is expanded, and its links are not stored", n.cid())
			a.fix(func(c *committer) error {
				return c.change(n.mh, func(r *row) {
					f := r.ref(n.codec)
					f.flags, f.version, f.whole = 0, 0, 0
				})
			})
			return nil
		}
	}
	due := dueOf(f, r.present())
	for _, k := range []struct {
		bit int
		key string
	}{{dueWanted, n.key(keyWanted)}, {dueExpand, n.key(keyExpand)}, {dueCollapse, n.key(keyCollapse)}, {dueFlagged, n.flaggedKey()}} {
		if due&k.bit == 0 {
			continue
		}
		value, err := getFrom(a.snap, k.key)
		if err != nil {
			return err
		}
		if value == nil {
			a.rep.wrong("%s should be in the queue %q", n.cid(), k.key[0])
			a.fixDue(n)
		}
	}
	return nil
}

// checkDue checks that all queued nodes belong into their queues.
func (a *audit) checkDue() error {
	for _, k := range []struct {
		prefix byte
		bit    int
	}{{keyWanted, dueWanted}, {keyExpand, dueExpand}, {keyCollapse, dueCollapse}, {keyFlagged, dueFlagged}} {
		var ferr error
		err := scan(a.snap, string(k.prefix), "", func(key, _ []byte) bool {
			n, err := a.queued(key)
			if err != nil {
				ferr = err
				return false
			}
			value, err := getFrom(a.snap, rowKey(n.mh))
			r := &row{}
			if err == nil && value != nil {
				r, err = parseRow(value)
			}
			if err != nil {
				ferr = err
				return false
			}
			if f, _ := r.find(n.codec); dueOf(f, r.present())&k.bit == 0 {
				a.rep.wrong("%s should not be in the queue %q", n.cid(), k.prefix)
				a.fixDue(n)
			}
			ferr = a.ctx.Err()
			return ferr == nil
		})
		if err = errors.Join(err, ferr); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) queued(key []byte) (node, error) {
	if key[0] != keyFlagged {
		return parseNode(key[1:])
	}
	if len(key) < 9 {
		return node{}, fmt.Errorf("index key %x: %w", key, block.ErrMalformed)
	}
	return node{mh: string(key[9:]), codec: binary.BigEndian.Uint64(key[1:])}, nil
}

// fixDue adds a fix that writes a node's queues again.
func (a *audit) fixDue(n node) {
	a.fix(func(c *committer) error {
		r, err := c.row(n.mh)
		if err != nil {
			return err
		}
		f, _ := r.find(n.codec)
		due := dueOf(f, r.present())
		c.updateQueues(n, ^due, due)
		return nil
	})
}

// comparePacks compares the counts of packs with the rows.
func (a *audit) comparePacks(packs map[pack.ID]*packInfo) {
	for id, has := range a.infos {
		should := packs[id]
		if should == nil {
			should = &packInfo{id: id}
		}
		delete(packs, id)
		if has.liveBlocks == should.liveBlocks && has.liveBytes == should.liveBytes && has.cacheBlocks == should.cacheBlocks && has.cacheBytes == should.cacheBytes {
			continue
		}
		a.rep.wrong("pack %s counts %d live and %d cached blocks, and holds %d and %d", id.Name(), has.liveBlocks, has.cacheBlocks, should.liveBlocks, should.cacheBlocks)
		a.fix(func(c *committer) error {
			if info := c.infos[id]; info != nil {
				info.liveBlocks += should.liveBlocks - has.liveBlocks
				info.liveBytes += should.liveBytes - has.liveBytes
				info.cacheBlocks += should.cacheBlocks - has.cacheBlocks
				info.cacheBytes += should.cacheBytes - has.cacheBytes
				c.dirty[id] = true
			}
			return nil
		})
	}
	for id, p := range packs {
		a.rep.wrong("%d blocks lie in pack %s, which is not known", p.liveBlocks+p.cacheBlocks, id.Name())
	}
}

// repair makes the fixes, some at a time.
func (a *audit) repair() error {
	for fixes := range slices.Chunk(a.fixes, stepBudget) {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		err := a.s.do(&op{durable: true, frees: true, apply: func(c *committer) error {
			for _, fix := range fixes {
				if err := fix(c); err != nil {
					return err
				}
			}
			c.meta.epoch++ // marks of whole blocks may have been wrong, too
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// A sorter sorts more strings than fit into memory: it sorts runs of them, spills
// these to files, and merges them.
type sorter struct {
	fs   vfs.FS
	dir  string
	run  []string
	size int
	runs []string // names of files
}

// sortMemory bounds what a sorter keeps in memory, in bytes.
const sortMemory = 32 << 20

func (s *sorter) add(key string) error {
	s.run = append(s.run, key)
	s.size += len(key) + 16
	if s.size < sortMemory {
		return nil
	}
	return s.spill()
}

// spill writes the run to a file: each string with its length before it.
func (s *sorter) spill() error {
	slices.Sort(s.run)
	name := s.fs.PathJoin(s.dir, fmt.Sprintf("audit-%d.tmp", len(s.runs)))
	f, err := s.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	s.runs = append(s.runs, name)
	w := bufio.NewWriter(f)
	var head []byte
	for _, key := range s.run {
		head = binary.AppendUvarint(head[:0], uint64(len(key)))
		w.Write(head)
		w.WriteString(key)
	}
	s.run, s.size = s.run[:0], 0
	return errors.Join(w.Flush(), f.Close())
}

func (s *sorter) remove() {
	for _, name := range s.runs {
		s.fs.Remove(name)
	}
}

// sorted returns a function that returns the next distinct string, in order, and
// how often it was added; "" at the end.
func (s *sorter) sorted() (next func() (string, uint64, error), stop func(), err error) {
	var h runHeap
	var files []vfs.File
	stop = func() {
		for _, f := range files {
			f.Close()
		}
	}
	slices.Sort(s.run)
	rest := s.run
	h = append(h, &runReader{next: func() (string, error) {
		if len(rest) == 0 {
			return "", nil
		}
		key := rest[0]
		rest = rest[1:]
		return key, nil
	}})
	for _, name := range s.runs {
		f, err := s.fs.Open(name)
		if err != nil {
			stop()
			return nil, nil, err
		}
		files = append(files, f)
		r := bufio.NewReader(f)
		h = append(h, &runReader{next: func() (string, error) {
			n, err := binary.ReadUvarint(r)
			if errors.Is(err, io.EOF) {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			p := make([]byte, n)
			_, err = io.ReadFull(r, p)
			return string(p), err
		}})
	}
	for _, src := range h {
		if src.head, err = src.next(); err != nil {
			stop()
			return nil, nil, err
		}
	}
	h = slices.DeleteFunc(h, func(src *runReader) bool { return src.head == "" })
	heap.Init(&h)
	return func() (string, uint64, error) {
		if len(h) == 0 {
			return "", 0, nil
		}
		key, count := h[0].head, uint64(0)
		for len(h) > 0 && h[0].head == key {
			count++
			var err error
			if h[0].head, err = h[0].next(); err != nil {
				return "", 0, err
			}
			if h[0].head == "" {
				heap.Pop(&h)
			} else {
				heap.Fix(&h, 0)
			}
		}
		return key, count, nil
	}, stop, nil
}

// A runHeap is a heap of sorted runs, by their next strings.
type runHeap []*runReader

// A runReader reads a sorted run.
type runReader struct {
	head string
	next func() (string, error) // "" at the end
}

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return h[i].head < h[j].head }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
