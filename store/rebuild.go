package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// RebuildResult is what a rebuild found in the packs.
type RebuildResult struct {
	Packs   int   `json:"packs"`
	Blocks  int64 `json:"blocks"`
	Bytes   int64 `json:"bytes"`
	Aliases int   `json:"aliases"`
	// Damaged counts blocks whose bytes have gone bad, and places at which a pack
	// could not be read further.
	Damaged int64 `json:"damaged"`
	// EvictionHeld means that there are blocks but no alias table. Nothing is
	// evicted until the user confirms that no alias is missing.
	EvictionHeld bool `json:"evictionHeld"`
	// OldIndex is the path of the former index; empty if there was none.
	OldIndex string `json:"oldIndex"`
}

const (
	newIndexDir = "index.new"
	oldIndexDir = "index.old"
)

// Rebuild makes a new index for the repository at dir from its packs: where the
// blocks lie, the aliases, references to backings, and recorded spaces. The former
// index is kept beside it. The repository must not be open. Blocks that had been
// deleted may be back, as a cache. Progress, if not nil, is called now and then
// with the bytes read and the bytes to read.
func Rebuild(ctx context.Context, dir string, o Options, progress func(done, total int64)) (RebuildResult, error) {
	rb := &rebuild{ctx: ctx, o: o.withDefaults(), dir: dir, progress: progress, ends: map[pack.ID]int64{}}
	if rb.fs = o.fs; rb.fs == nil {
		rb.fs = vfs.Default
	}
	if err := rb.run(); err != nil {
		return rb.found, fmt.Errorf("store: rebuild %s: %w", dir, err)
	}
	return rb.found, nil
}

// A rebuild makes a new index beside the old one, and swaps them at the end.
type rebuild struct {
	ctx      context.Context
	o        Options
	fs       vfs.FS
	dir      string
	progress func(done, total int64)

	repo    *repository
	s       *Store // with the new index; its committer isn't running
	c       *committer
	ends    map[pack.ID]int64 // the offset up to which each pack could be read
	records []record
	found   RebuildResult
}

func (rb *rebuild) run() (err error) {
	if _, err := rb.fs.Stat(rb.fs.PathJoin(rb.dir, packsDir)); err != nil {
		return fmt.Errorf("find packs: %w", err)
	}
	if err := rb.ensureFormat(); err != nil {
		return err
	}
	if rb.repo, err = openRepository(rb.fs, rb.dir, rb.o.Program); err != nil {
		return err
	}
	defer rb.repo.Close()
	if err := rb.fs.RemoveAll(rb.repo.path(newIndexDir)); err != nil {
		return err
	}
	if err := makeDir(rb.fs, rb.repo.path(newIndexDir)); err != nil {
		return err
	}
	if err := rb.open(); err != nil {
		return err
	}
	err = rb.fill()
	if cerr := rb.s.index.close(true); err == nil {
		err = cerr
	}
	if cerr := rb.s.packs.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return rb.swap()
}

// ensureFormat writes the format file if it was lost with the index: there are
// packs, and only one format.
func (rb *rebuild) ensureFormat() error {
	r := &repository{fs: rb.fs, dir: rb.dir}
	if _, err := r.read(formatFile); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return r.write(formatFile, []byte(formatLine), true)
}

// open makes a store above the new index. This goroutine is its committer.
func (rb *rebuild) open() (err error) {
	s := &Store{o: rb.o, fs: rb.fs, dir: rb.dir, log: rb.o.Logger, events: newHub(), fresh: map[string]freshBlock{}}
	s.heldWake, s.evictWake = make(chan struct{}, 1), make(chan struct{}, 1)
	s.closing, s.committed = make(chan struct{}), make(chan struct{})
	s.protect.counts = map[uint64]int32{}
	if s.packs, err = pack.OpenDir(rb.fs, rb.repo.path(packsDir)); err != nil {
		return err
	}
	if s.index, err = openIndex(rb.fs, rb.repo.path(newIndexDir), rb.o, true); err != nil {
		return err
	}
	rb.s, rb.c = s, &committer{s: s, uncut: map[pack.ID]bool{}}
	return rb.c.load()
}

func (rb *rebuild) fill() error {
	// A pack that was removed must not come back after a crash: the new index
	// would not know it.
	if err := rb.s.packs.Sync(); err != nil {
		return err
	}
	ids, err := rb.s.packs.List()
	if err != nil {
		return err
	}
	var done, total int64
	sizes := map[pack.ID]int64{}
	for _, id := range ids {
		if sizes[id], err = rb.s.packs.Size(id); err != nil {
			return err
		}
		total += sizes[id]
	}
	// The youngest first: if a block lies in two packs, the lost index knew the
	// younger place.
	slices.Reverse(ids)
	for _, id := range ids {
		base := done
		if err := rb.pack(id, sizes[id], func(at int64) { rb.report(base+at, total) }); err != nil {
			return err
		}
		done += sizes[id]
		rb.found.Packs++
	}
	rb.report(total, total)
	// The id of a pack is never used again, as far as its existence is known.
	next := &rb.c.meta.nextPack
	for _, id := range ids {
		*next = max(*next, id+1)
	}
	for _, r := range rb.records {
		for _, m := range r.marks {
			*next = max(*next, m.pack+1)
		}
	}
	if err := rb.replay(); err != nil {
		return err
	}
	return rb.flush()
}

func (rb *rebuild) report(done, total int64) {
	if rb.progress != nil {
		rb.progress(done, total)
	}
}

// pack indexes what a pack holds.
func (rb *rebuild) pack(id pack.ID, size int64, progress func(int64)) error {
	c := rb.c
	info := &packInfo{id: id, kind: kindLeaves, state: packTorn, end: pack.Start, size: size}
	c.infos[id] = info
	c.dirty[id] = true
	end, index, sealed, err := rb.s.packs.Sealed(id)
	if err != nil || !sealed || end > size {
		end = size
	} else if index != 0 {
		info.state = packSealed
	}
	var offsets []int64
	if info.state == packSealed {
		offsets, end = rb.offsets(id, end, index)
	} else if err := rb.s.packs.Persist(id); err != nil {
		// A process that was killed, or whose syncs failed, may have written
		// what is not on the disk.
		return err
	}
	from := pack.Start
	for from < end {
		next, err := rb.sections(info, from, end, len(offsets) > 0, progress)
		if err == nil {
			break
		}
		if cerr := rb.ctx.Err(); cerr != nil {
			return cerr
		}
		if !errors.Is(err, errUnreadable) {
			return err
		}
		// A pack that was never sealed may end in a write that a crash
		// interrupted. The index of a sealed one has the next section.
		rb.s.log.Warn("store: read a pack", "pack", id.Name(), "at", next, "error", err)
		if info.state != packSealed {
			break
		}
		rb.found.Damaged++
		i, _ := slices.BinarySearch(offsets, next+1)
		if i == len(offsets) {
			break
		}
		from = offsets[i]
	}
	if info.state == packSealed {
		info.end = end
	}
	rb.ends[id] = info.end
	return nil
}

// errUnreadable: where the next section of a pack begins is unknown.
var errUnreadable = errors.New("not a section")

// sections indexes the sections between two offsets. It returns the offset behind
// the last section that it read. With stop, a damaged section ends it, for the
// section's length may be what is damaged.
func (rb *rebuild) sections(info *packInfo, from, end int64, stop bool, progress func(int64)) (int64, error) {
	at := from
	for sec, err := range rb.s.packs.Scan(info.id, from, end) {
		if cerr := rb.ctx.Err(); cerr != nil {
			return at, cerr
		}
		if err != nil && (sec.Offset == 0 || stop) {
			return at, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		at = sec.End()
		progress(at)
		info.end = max(info.end, at)
		switch {
		case err != nil:
			rb.found.Damaged++
		case isRecord(sec.CID):
			info.records, info.kind = true, kindLinks
			rec, err := parseRecord(sec.Block.Data())
			if errors.Is(err, ErrFormat) {
				return at, err
			}
			if err != nil {
				rb.found.Damaged++
				continue
			}
			rb.records = append(rb.records, rec)
		default:
			if err := rb.block(info, sec); err != nil {
				return at, err
			}
			if rb.c.dirtyCount() > maxDirty {
				if err := rb.flush(); err != nil {
					return at, err
				}
			}
		}
	}
	return at, nil
}

// offsets lists, in order, where the sections of a sealed pack begin, by its own
// index; none if that can't be read. It also returns where they end: if by the
// header they end sooner, the header is damaged.
func (rb *rebuild) offsets(id pack.ID, end, index int64) ([]int64, int64) {
	entries, err := rb.s.packs.Entries(id)
	if err != nil {
		return nil, end
	}
	offsets := make([]int64, 0, len(entries))
	for _, e := range entries {
		if off := int64(e.Offset); off >= pack.Start && off < index {
			offsets = append(offsets, off)
		}
	}
	if len(offsets) == 0 {
		return nil, end
	}
	slices.Sort(offsets)
	for sec, err := range rb.s.packs.Sections(id, offsets[len(offsets)-1], index) {
		if err == nil {
			end = max(end, sec.End())
		}
		break
	}
	return offsets, end
}

func (rb *rebuild) block(info *packInfo, sec pack.BlockSection) error {
	n := nodeOf(sec.CID)
	r, err := rb.c.row(n.mh)
	if err != nil {
		return err
	}
	if !r.present() {
		rb.found.Blocks++
		rb.found.Bytes += int64(sec.Size)
	}
	return rb.c.change(n.mh, func(r *row) {
		r.ref(n.codec)
		if !r.present() {
			r.loc = loc{kind: locPack, size: sec.Size, pack: info.id, off: sec.Offset, head: sec.Head, sum: sec.Block.Checksum()}
		}
	})
}

func (rb *rebuild) flush() error {
	rb.c.record = recordBuffer{} // the packs have it already
	if err := rb.c.publish(); err != nil {
		return err
	}
	return rb.c.flush(true)
}

// replay applies the youngest alias table that is whole, and the records after it
// whose commits' blocks are in the packs.
func (rb *rebuild) replay() error {
	commits := map[uint64][]record{}
	tables := map[uint64][]record{}
	for _, r := range rb.records {
		if r.table {
			tables[r.seq] = append(tables[r.seq], r)
		} else {
			commits[r.seq] = append(commits[r.seq], r)
		}
	}
	c := rb.c
	found := len(tables) > 0
	for _, seq := range descending(tables) {
		if parts, ok := wholeRecord(tables[seq]); ok {
			if err := rb.apply(parts); err != nil {
				return err
			}
			c.meta.seq = seq
			break
		}
	}
	seqs := ascending(commits)
	for _, seq := range seqs {
		parts, ok := wholeRecord(commits[seq])
		if seq <= c.meta.seq {
			// The table has these changes, except references to backings.
			parts = onlyReferences(commits[seq])
		} else if seq == seqs[len(seqs)-1] && (!ok || !rb.kept(parts)) {
			break // cut off by a crash, and never acknowledged
		} else {
			c.meta.seq = seq
		}
		if err := rb.apply(parts); err != nil {
			return err
		}
	}
	// Commits that were not acknowledged must not be taken for later ones.
	for _, r := range rb.records {
		c.meta.seq = max(c.meta.seq, r.seq)
	}
	c.meta.held = !found && rb.found.Blocks > 0
	rb.found.EvictionHeld = c.meta.held
	err := scanAliases(rb.s.index.db, "", func(*aliasRow) bool { rb.found.Aliases++; return true })
	if err != nil {
		return err
	}
	return nil
}

func ascending(m map[uint64][]record) []uint64 {
	var seqs []uint64
	for seq := range m {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return seqs
}

func descending(m map[uint64][]record) []uint64 {
	seqs := ascending(m)
	slices.Reverse(seqs)
	return seqs
}

// wholeRecord returns the parts of a record in order, if all are there. A table
// may be there twice.
func wholeRecord(parts []record) ([]record, bool) {
	slices.SortFunc(parts, func(a, b record) int { return cmp.Compare(a.part, b.part) })
	parts = slices.CompactFunc(parts, func(a, b record) bool { return a.part == b.part })
	for i, r := range parts {
		if r.part != i {
			return nil, false
		}
	}
	return parts, len(parts) > 0 && parts[len(parts)-1].last
}

// kept reports whether the packs have all blocks of the last commit. (They have
// those of earlier commits, for each was durable before the next one's record was
// written.) A pack that is gone was removed later, properly. Damaged sections are
// ignored: an alias that lacks a block is better than an acknowledged one that is
// lost.
func (rb *rebuild) kept(parts []record) bool {
	for _, m := range parts[0].marks {
		if end, ok := rb.ends[m.pack]; ok && end < m.end {
			return false
		}
	}
	return true
}

func onlyReferences(parts []record) []record {
	var out []record
	for _, r := range parts {
		r.changes = slices.DeleteFunc(slices.Clone(r.changes), func(ch recordChange) bool { return ch.kind != recordRefer })
		out = append(out, r)
	}
	return out
}

func (rb *rebuild) apply(parts []record) error {
	for _, r := range parts {
		for _, ch := range r.changes {
			if err := rb.change(ch); err != nil {
				return err
			}
		}
		// The counts are as in a running store: blocks below are expanded when
		// the store is opened.
		if err := rb.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (rb *rebuild) change(ch recordChange) error {
	c := rb.c
	switch ch.kind {
	case recordAlias:
		if ch.value == nil {
			return c.removeAlias(ch.name)
		}
		a, err := parseAlias(ch.name, ch.value)
		if err != nil {
			rb.found.Damaged++
			return nil
		}
		if err := c.removeAlias(ch.name); err != nil {
			return err
		}
		if err := c.addCounts(a.targets, 1); err != nil {
			return err
		}
		if err := c.addCounts(a.heldTargets, 1); err != nil {
			return err
		}
		c.writeAlias(a)
	case recordSpace:
		c.setSpace(ch.name, ch.key, bytes.Clone(ch.value))
	case recordRefer:
		if len(ch.key) == 0 {
			return nil
		}
		n, err := parseNode([]byte(ch.key[1:]))
		if err != nil {
			rb.found.Damaged++
			return nil
		}
		recorded, err := parseRow(ch.value)
		if err != nil {
			rb.found.Damaged++
			return nil
		}
		return c.setLocation(n, recorded.loc)
	}
	return nil
}

// swap puts the new index in the old one's place.
func (rb *rebuild) swap() error {
	index := rb.repo.path(indexDir)
	if _, err := rb.fs.Stat(index); err == nil {
		old := rb.repo.path(oldIndexDir)
		if err := rb.fs.RemoveAll(old); err != nil {
			return err
		}
		if err := rb.fs.Rename(index, old); err != nil {
			return err
		}
		rb.found.OldIndex = old
	}
	if err := rb.fs.Rename(rb.repo.path(newIndexDir), index); err != nil {
		return err
	}
	return syncDir(rb.fs, rb.dir)
}
