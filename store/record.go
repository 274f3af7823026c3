package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// codecRecord is the codec of records. A record is a small dag-cbor block in a
// pack of links. It has what a commit changed besides blocks: aliases, references
// to backings, recorded spaces. With the alias table that each pack of links
// begins with, the packs alone suffice to rebuild the index.
//
// The codec is from the range for private use, and blocks of it can't be put: so
// a peer can't add a record of its own.
const codecRecord = 0x300ca1

// maxRecord is the size in bytes at which a record continues in another part.
const maxRecord = 512 << 10

// A recordBuffer collects the changes for the next record.
type recordBuffer struct {
	changes []recordChange
}

// A recordChange sets one thing, or removes it if value is nil.
type recordChange struct {
	kind      string // recordAlias, recordSpace or recordRefer
	name, key string
	value     []byte
}

// Kinds of change. They are in the records on disk.
const (
	recordAlias = "alias" // name → aliasRow
	recordSpace = "space" // name, key → value
	recordRefer = "refer" // node's key → a row with the location
)

func (b *recordBuffer) alias(name string, value []byte) {
	b.changes = append(b.changes, recordChange{kind: recordAlias, name: name, value: value})
}

func (b *recordBuffer) space(space, key string, value []byte) {
	b.changes = append(b.changes, recordChange{kind: recordSpace, name: space, key: key, value: value})
}

func (b *recordBuffer) refer(n node, l loc) {
	r := row{loc: l}
	b.changes = append(b.changes, recordChange{kind: recordRefer, key: n.key(keyRow), value: r.append(nil)})
}

// A record is one part of the record of a commit.
type record struct {
	seq     uint64
	part    int
	last    bool // no further part of that seq follows
	table   bool // it has all aliases and recorded spaces, as of seq
	marks   []mark
	changes []recordChange
}

// A mark says that a record is valid only if the pack has data up to end: a crash
// may have kept the record but not the blocks.
type mark struct {
	pack pack.ID
	end  int64
}

// appendRecord writes the collected changes into the pack of links, as part of
// the commit that is being flushed.
func (c *committer) appendRecord() error {
	if len(c.record.changes) == 0 {
		return nil
	}
	w, err := c.writer(kindLinks)
	if err != nil {
		return err
	}
	var marks []mark
	for id := range c.dirty {
		// A pack that this commit removes has no info any more.
		if info := c.infos[id]; info != nil && id != w.ID() {
			marks = append(marks, mark{id, info.end})
		}
	}
	c.meta.seq++
	err = c.appendParts(w, record{seq: c.meta.seq, marks: marks}, c.record.changes)
	c.record = recordBuffer{}
	return err
}

// appendTable writes all aliases and recorded spaces of the index to the start of
// a pack of links.
func (c *committer) appendTable(w *pack.Writer) error {
	m, err := c.storedMeta()
	if err != nil {
		return err
	}
	var table recordBuffer
	err = scan(c.s.index.db, string(keyAlias), "", func(k, v []byte) bool {
		table.alias(string(k[1:]), bytes.Clone(v))
		return true
	})
	for _, space := range c.s.o.RecordedSpaces {
		if err == nil {
			head := spaceKey(space, "")
			err = scan(c.s.index.db, head, "", func(k, v []byte) bool {
				table.space(space, string(k[len(head):]), append([]byte{}, v...))
				return true
			})
		}
	}
	if err != nil {
		return err
	}
	return c.appendParts(w, record{seq: m.seq, table: true}, table.changes)
}

func (c *committer) appendParts(w *pack.Writer, rec record, changes []recordChange) error {
	for {
		n, size := 0, 0
		for n < len(changes) && size < maxRecord {
			ch := changes[n]
			size += len(ch.name) + len(ch.key) + len(ch.value) + 32
			n++
		}
		rec.changes, rec.last = changes[:n], n == len(changes)
		data, err := rec.encode()
		if err != nil {
			return err
		}
		b, err := block.New(codecRecord, data)
		if err != nil {
			return err
		}
		if _, _, err := w.Append(b.CID(), b.Data()); err != nil {
			return err
		}
		if rec.last {
			break
		}
		changes = changes[n:]
		rec.part++
	}
	info := c.infos[w.ID()]
	info.end, info.size, info.records = w.End(), w.End(), true
	c.dirty[w.ID()] = true
	c.unsynced[kindLinks] = true
	return nil
}

func (r record) encode() ([]byte, error) {
	n, err := qp.BuildMap(basicnode.Prototype.Map, -1, func(m datamodel.MapAssembler) {
		qp.MapEntry(m, "version", qp.Int(1))
		qp.MapEntry(m, "seq", qp.Int(int64(r.seq)))
		qp.MapEntry(m, "part", qp.Int(int64(r.part)))
		qp.MapEntry(m, "last", qp.Bool(r.last))
		qp.MapEntry(m, "table", qp.Bool(r.table))
		qp.MapEntry(m, "marks", qp.List(int64(len(r.marks)), func(l datamodel.ListAssembler) {
			for _, k := range r.marks {
				qp.ListEntry(l, qp.Int(int64(k.pack)))
				qp.ListEntry(l, qp.Int(k.end))
			}
		}))
		qp.MapEntry(m, "changes", qp.List(int64(len(r.changes)), func(l datamodel.ListAssembler) {
			for _, ch := range r.changes {
				qp.ListEntry(l, qp.List(4, func(l datamodel.ListAssembler) {
					qp.ListEntry(l, qp.String(ch.kind))
					qp.ListEntry(l, qp.Bytes([]byte(ch.name)))
					qp.ListEntry(l, qp.Bytes([]byte(ch.key)))
					if ch.value == nil {
						qp.ListEntry(l, qp.Null())
					} else {
						qp.ListEntry(l, qp.Bytes(ch.value))
					}
				}))
			}
		}))
	})
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	var out bytes.Buffer
	if err := dagcbor.Encode(n, &out); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return out.Bytes(), nil
}

func isRecord(c cid.Cid) bool { return c.Prefix().Codec == codecRecord }

// parseRecord reads a record whose hash was checked.
func parseRecord(data []byte) (r record, err error) {
	nb := basicnode.Prototype.Map.NewBuilder()
	if err := dagcbor.Decode(nb, bytes.NewReader(data)); err != nil {
		return record{}, fmt.Errorf("record: %w", err)
	}
	f := fields{n: nb.Build()}
	if v := f.int(f.at("version")); f.err == nil && v != 1 {
		return record{}, fmt.Errorf("record of version %d: %w", v, ErrFormat)
	}
	r.seq, r.part = uint64(f.int(f.at("seq"))), int(f.int(f.at("part")))
	r.last, r.table = f.bool(f.at("last")), f.bool(f.at("table"))
	marks := f.list(f.at("marks"))
	for ; len(marks) >= 2; marks = marks[2:] {
		r.marks = append(r.marks, mark{pack.ID(f.int(marks[0])), f.int(marks[1])})
	}
	for _, item := range f.list(f.at("changes")) {
		parts := f.list(item)
		if len(parts) != 4 {
			return record{}, fmt.Errorf("record: %w", block.ErrMalformed)
		}
		ch := recordChange{name: string(f.bytes(parts[1])), key: string(f.bytes(parts[2]))}
		if ch.kind, err = parts[0].AsString(); err != nil {
			return record{}, fmt.Errorf("record: %w", err)
		}
		if !parts[3].IsNull() {
			ch.value = append([]byte{}, f.bytes(parts[3])...)
		}
		r.changes = append(r.changes, ch)
	}
	if f.err != nil {
		return record{}, fmt.Errorf("record: %w", f.err)
	}
	return r, nil
}

// fields reads a record's node and keeps its errors.
type fields struct {
	n   datamodel.Node
	err error
}

func (f *fields) at(key string) datamodel.Node {
	n, err := f.n.LookupByString(key)
	if err != nil {
		f.err = errors.Join(f.err, err)
		return datamodel.Null
	}
	return n
}

func (f *fields) int(n datamodel.Node) int64 {
	v, err := n.AsInt()
	f.err = errors.Join(f.err, err)
	return v
}

func (f *fields) bool(n datamodel.Node) bool {
	v, err := n.AsBool()
	f.err = errors.Join(f.err, err)
	return v
}

func (f *fields) bytes(n datamodel.Node) []byte {
	v, err := n.AsBytes()
	f.err = errors.Join(f.err, err)
	return v
}

func (f *fields) list(n datamodel.Node) []datamodel.Node {
	var nodes []datamodel.Node
	for it := n.ListIterator(); it != nil && !it.Done(); {
		_, v, err := it.Next()
		if err != nil {
			f.err = errors.Join(f.err, err)
			break
		}
		nodes = append(nodes, v)
	}
	return slices.Clip(nodes)
}

// setLocation sets where a backing has a block, unless a pack has it.
func (c *committer) setLocation(n node, l loc) error {
	r, err := c.row(n.mh)
	if err != nil || r.loc.kind == locPack || r.loc == l {
		return err
	}
	c.record.refer(n, l)
	return c.change(n.mh, func(r *row) {
		r.loc = l
		r.ref(n.codec)
	})
}

// referencesOf reads the references to backings from the records of a pack.
// Unlike aliases they are in no table.
func (s *Store) referencesOf(ctx context.Context, v packInfo) ([]recordChange, error) {
	if !v.records || v.kind != kindLinks {
		return nil, nil
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	var changes []recordChange
	for sec, err := range s.packs.Sections(v.id, pack.Start, v.end) {
		if err != nil {
			// Damaged: what can't be read can't be recorded again.
			s.log.Warn("store: read the records of a pack", "pack", v.id.Name(), "error", err)
			return changes, ctx.Err()
		}
		if !isRecord(sec.CID) {
			continue
		}
		data := make([]byte, sec.Size)
		err := s.packs.ReadAt(v.id, data, sec.Offset+int64(sec.Head))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		var rec record
		if err == nil {
			rec, err = parseRecord(data)
		}
		if err != nil {
			s.log.Warn("store: read the records of a pack", "pack", v.id.Name(), "error", err)
			continue
		}
		for _, ch := range rec.changes {
			if ch.kind == recordRefer {
				changes = append(changes, ch)
			}
		}
	}
	return changes, ctx.Err()
}

// rerecord records a reference to a backing again, if it is still valid.
func (c *committer) rerecord(ch recordChange) error {
	if len(ch.key) == 0 {
		return nil
	}
	n, err := parseNode([]byte(ch.key[1:]))
	if err != nil {
		return nil // damaged
	}
	recorded, err := parseRow(ch.value)
	if err != nil {
		return nil
	}
	r, err := c.row(n.mh)
	if err != nil {
		return err
	}
	if r.loc == recorded.loc {
		c.record.refer(n, r.loc)
	}
	return nil
}
