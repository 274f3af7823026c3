package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
)

// links is the result of extracting a block's links.
type links struct {
	nodes   []node
	flags   uint8 // refUndecodable or refUnknown if extraction failed, else 0
	version uint64
}

// extract finds a block's links.
func (s *Store) extract(b block.Block) *links { return newLinks(s.Links(b)) }

// newLinks makes links from the result of Store.Links.
func newLinks(cids []cid.Cid, err error) *links {
	l := &links{version: dag.Version}
	switch {
	case errors.Is(err, block.ErrUnknownCodec):
		l.flags = refUnknown
	case err != nil:
		l.flags = refUndecodable
	default:
		l.nodes = distinct(cids)
	}
	return l
}

// Links returns the CIDs that a block links to, for the codecs of package
// internal/dag and of Options.Links. An identity CID is replaced by the links of
// the block that it carries.
// Errors: block.ErrUnknownCodec, block.ErrMalformed.
func (s *Store) Links(b block.Block) ([]cid.Cid, error) {
	codec := nodeOf(b.CID()).codec
	f := s.o.Links[codec]
	if f == nil || dag.Known(codec) {
		return dag.Links(b)
	}
	cids, err := f(b)
	if err != nil {
		return nil, err
	}
	return lookThrough(cids)
}

// lookThrough replaces identity CIDs, in the result of a function of
// Options.Links, by the links of the blocks that they carry, as dag.Links does.
// It fails with block.ErrMalformed if a CID is malformed.
func lookThrough(cids []cid.Cid) ([]cid.Cid, error) {
	out := make([]cid.Cid, 0, len(cids))
	for _, c := range cids {
		if err := block.CheckCID(c); errors.Is(err, block.ErrMalformed) || errors.Is(err, block.ErrTooLarge) {
			return nil, err
		}
		b, ok := block.Inlined(c)
		if !ok {
			out = append(out, c)
			continue
		}
		// As in dag.Links, a block there that can't be decoded has no links.
		if inner, err := dag.Links(b); err == nil {
			out = append(out, inner...)
		}
	}
	return out, nil
}

// known reports whether the links of blocks of the codec can be found.
func (s *Store) known(codec uint64) bool { return dag.Known(codec) || s.o.Links[codec] != nil }

// step does some of the work that is due. It expands blocks that became live.
// When none are left, it collapses blocks that are no longer live. (The other
// order could collapse what a new root shares with an old one.) With foreground,
// ops wait, and it does less.
func (c *committer) step(foreground bool) error {
	budget := stepBudget
	if foreground {
		budget /= 4
	}
	for i, f := range []func(node) (int, error){c.expand, c.collapse} {
		w := &c.work[i]
		for budget > 0 {
			if len(w.nodes) == 0 {
				if !w.scan {
					break
				}
				if err := c.loadWork(i); err != nil {
					return err
				}
				continue
			}
			n := w.nodes[len(w.nodes)-1]
			w.nodes = w.nodes[:len(w.nodes)-1]
			cost, err := f(n)
			if err != nil {
				return err
			}
			budget -= 1 + cost
		}
		if len(w.nodes) > 0 || w.scan || len(c.stuck) > 0 {
			return nil
		}
	}
	return nil
}

// expanding reports whether there are live blocks whose links are not counted.
func (c *committer) expanding() bool {
	w := c.work[workExpand]
	return len(w.nodes) > 0 || w.scan || len(c.stuck) > 0
}

// retryStuck queues nodes again whose links could not be read.
func (c *committer) retryStuck() {
	for n := range c.stuck {
		c.work[workExpand].add(n)
	}
	clear(c.stuck)
}

// settle waits until no work of these kinds is due, in the index too. The
// committer does a step of it with each op. It fails if links can't be read:
// then it is unknown what is live.
func (s *Store) settle(ctx context.Context, which ...int) error {
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		pending := false
		var stuck error
		err := s.do(&op{frees: true, apply: func(c *committer) error {
			if first {
				c.retryStuck()
			}
			for _, i := range which {
				pending = pending || len(c.work[i].nodes) > 0 || c.work[i].scan
			}
			if len(c.stuck) > 0 {
				pending, stuck = false, c.stuckErr
			}
			if pending || c.dirtyCount() == 0 {
				return nil
			}
			if err := c.publish(); err != nil {
				return err
			}
			return c.flush(false)
		}})
		if err != nil || !pending {
			return errors.Join(err, stuck)
		}
	}
}

// loadWork reads work that is due from the index. It flushes first, for the
// index must have no overlay then.
func (c *committer) loadWork(kind int) error {
	if err := c.publish(); err != nil {
		return err
	}
	if err := c.flush(false); err != nil {
		return err
	}
	prefix := string([]byte{keyExpand, keyCollapse}[kind])
	w := &c.work[kind]
	w.scan = false
	var perr error
	err := scan(c.s.index.db, prefix, "", func(k, _ []byte) bool {
		n, err := parseNode(k[1:])
		if err != nil {
			perr = err
			return false
		}
		if kind != workExpand || !c.stuck[n] {
			w.nodes = append(w.nodes, n)
		}
		w.scan = len(w.nodes) >= maxWorkList
		return !w.scan
	})
	return errors.Join(err, perr)
}

// expand adds one to the count of each link of a live block. It returns the
// number of links.
func (c *committer) expand(n node) (int, error) {
	r, err := c.row(n.mh)
	if err != nil {
		return 0, err
	}
	f, _ := r.find(n.codec)
	if dueOf(f, r.present())&dueExpand == 0 {
		return 0, nil
	}
	l := c.knownLinks[n]
	if l == nil {
		b, err := c.read(n, r.loc)
		if errors.Is(err, block.ErrDamaged) || errors.Is(err, pack.ErrGone) {
			return 0, c.markLost(n.mh, r.loc)
		}
		if err != nil && len(c.stuck) < maxWorkList {
			// A disk or a backing that can't read just now must not stop all
			// other work.
			c.stuck[n], c.stuckErr = true, fmt.Errorf("links of %s: %w", n.cid(), err)
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		l = c.s.extract(b)
	}
	flags := refExpanded | l.flags
	if len(l.nodes) > 0 {
		flags |= refHasLinks
		c.set(n.key(keyLinks), appendNodes(nil, l.nodes))
	}
	err = c.change(n.mh, func(r *row) {
		f := r.ref(n.codec)
		f.flags, f.version, f.whole = flags, l.version, 0
	})
	for i := 0; i < len(l.nodes) && err == nil; i++ {
		err = c.addCount(l.nodes[i], 1)
	}
	return len(l.nodes), err
}

// collapse undoes expand, by the links that expand stored.
func (c *committer) collapse(n node) (int, error) {
	r, err := c.row(n.mh)
	if err != nil {
		return 0, err
	}
	f, _ := r.find(n.codec)
	if dueOf(f, r.present())&dueCollapse == 0 {
		return 0, nil
	}
	children, err := c.storedLinks(n, f)
	if err != nil {
		return 0, err
	}
	if len(children) > 0 {
		c.unset(n.key(keyLinks))
	}
	err = c.change(n.mh, func(r *row) {
		f := r.ref(n.codec)
		f.flags, f.version, f.whole = 0, 0, 0
	})
	for i := 0; i < len(children) && err == nil; i++ {
		err = c.addCount(children[i], -1)
	}
	return len(children), err
}

// addCount adds delta to the count of a node.
func (c *committer) addCount(n node, delta int64) error {
	return c.change(n.mh, func(r *row) {
		f := r.ref(n.codec)
		if delta < 0 && f.count < uint64(-delta) {
			// The counts are wrong. Keeping too much is better than losing
			// blocks; Verify finds and repairs it.
			c.s.log.Error("store: a count would fall below zero; run a verification", "cid", n.cid())
			f.count = 0
			return
		}
		f.count += uint64(delta)
	})
}

// storedLinks returns the links that a node was expanded with.
func (c *committer) storedLinks(n node, f ref) ([]node, error) {
	if f.flags&refHasLinks == 0 {
		return nil, nil
	}
	value, err := c.get(n.key(keyLinks))
	if err != nil {
		return nil, err
	}
	return parseLinks(n, value)
}

func parseLinks(n node, value []byte) ([]node, error) {
	d := decoder{p: value}
	nodes := d.nodes()
	if d.fail || len(d.p) > 0 {
		return nil, fmt.Errorf("index: links of %s: %w", n.cid(), block.ErrMalformed)
	}
	return nodes, nil
}

// read reads a block that lies at l for the committer itself.
func (c *committer) read(n node, l loc) (block.Block, error) {
	for _, w := range c.writers {
		if w != nil && l.kind == locPack && w.ID() == l.pack {
			if err := w.Flush(); err != nil {
				return block.Block{}, err
			}
		}
	}
	return c.s.readAt(c.s.ctx, n.cid(), l, nil)
}

// markLost removes the location l of a block whose bytes have changed there. A
// live block becomes wanted; its stored links stay, for they are counted.
func (c *committer) markLost(mh string, l loc) error {
	r, err := c.row(mh)
	if err != nil || r.loc != l || !r.present() {
		return err
	}
	if r.live() {
		c.meta.epoch++
	}
	c.s.log.Warn("store: a block is damaged", "multihash", fmt.Sprintf("%x", mh), "live", r.live())
	for _, f := range r.refs {
		c.emit(Event{Kind: EventDamaged, CID: node{mh, f.codec}.cid()})
	}
	return c.change(mh, func(r *row) { r.loc = loc{} })
}

// relearn queues again the nodes that were expanded without knowing their links
// and whose codecs are known now.
func (c *committer) relearn() error {
	from := string(keyFlagged)
	for {
		var found []node
		var codec uint64
		err := scan(c.s.index.db, string(keyFlagged), from, func(k, _ []byte) bool {
			if len(k) < 9 {
				return true
			}
			n := node{mh: string(k[9:]), codec: binary.BigEndian.Uint64(k[1:])}
			if len(found) == 0 {
				codec = n.codec
			}
			if n.codec != codec {
				return false
			}
			found = append(found, n)
			return c.s.known(codec) && len(found) < maxWorkList
		})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		if !c.s.known(codec) {
			from = node{codec: codec + 1}.flaggedKey()
			continue
		}
		relearned := false
		for _, n := range found {
			r, err := c.row(n.mh)
			if err != nil {
				return err
			}
			f, _ := r.find(n.codec)
			if f.flags&refUnknown == 0 && f.version == dag.Version {
				continue // undecodable then, and now
			}
			err = c.change(n.mh, func(r *row) {
				f := r.ref(n.codec)
				f.flags, f.version, f.whole = 0, 0, 0
			})
			if err != nil {
				return err
			}
			relearned = true
		}
		if relearned {
			// Blocks may be marked whole that are not, with these links.
			c.meta.epoch++
		}
		if err := c.flush(true); err != nil {
			return err
		}
		from = found[len(found)-1].flaggedKey() + "\x00"
	}
}
