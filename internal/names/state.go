package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
)

// The spaces of the state, keyed by Name.RoutingKey. Values have MaxRecord and a few
// bytes at most.
const (
	// nameSpace has the rows of all names. It is written when a record arrives,
	// and when one was sent.
	nameSpace = "names"
	// KeptSpace has what the network could not restore: the highest sequences of
	// own and followed names, and own records. It is written when one of these
	// changes, and used when the other space is lost.
	KeptSpace = "names/kept"
)

// A row is what is stored about a name.
type row struct {
	// own: published here, to be renewed. followed: Follow was called.
	own, followed bool
	// seen: highest is set.
	seen    bool
	highest uint64
	// raw is the best record; nil: none. Its sequence is highest. It may have
	// expired.
	raw []byte
	// confirmed is when a source last had the record; sent is when it was last
	// put into the value stores.
	confirmed, sent time.Time
	// lifetime is the lifetime of own records.
	lifetime time.Duration
	// from describes the source of the record. It is kept only in memory.
	from string
}

// kept reports whether the row is never evicted.
func (r row) kept() bool { return r.own || r.followed }

// keptValue returns the row's value in KeptSpace; nil: it has none.
func (r row) keptValue() []byte {
	if !r.kept() {
		return nil
	}
	r.confirmed, r.sent = time.Time{}, time.Time{}
	if !r.own {
		r.raw = nil // the network has it
	}
	return r.marshal()
}

const (
	rowVersion = 1
	rowHeader  = 2 + 4*8

	rowOwn      = 1
	rowFollowed = 2
	rowSeen     = 4
)

var errRow = errors.New("invalid row")

func (r row) marshal() []byte {
	var flags byte
	if r.own {
		flags |= rowOwn
	}
	if r.followed {
		flags |= rowFollowed
	}
	if r.seen {
		flags |= rowSeen
	}
	b := make([]byte, 0, rowHeader+len(r.raw))
	b = append(b, rowVersion, flags)
	b = binary.BigEndian.AppendUint64(b, r.highest)
	for _, t := range []time.Time{r.confirmed, r.sent} {
		var ns int64 // 0: the zero time
		if !t.IsZero() {
			ns = t.UnixNano()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(ns))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.lifetime))
	return append(b, r.raw...)
}

func unmarshalRow(b []byte) (row, error) {
	if len(b) < rowHeader || len(b) > rowHeader+MaxRecord || b[0] != rowVersion {
		return row{}, errRow
	}
	r := row{
		own: b[1]&rowOwn != 0, followed: b[1]&rowFollowed != 0, seen: b[1]&rowSeen != 0,
		highest:  binary.BigEndian.Uint64(b[2:]),
		lifetime: time.Duration(binary.BigEndian.Uint64(b[26:])),
	}
	for i, t := range []*time.Time{&r.confirmed, &r.sent} {
		if ns := int64(binary.BigEndian.Uint64(b[10+8*i:])); ns != 0 {
			*t = time.Unix(0, ns)
		}
	}
	if len(b) > rowHeader {
		r.raw = append([]byte(nil), b[rowHeader:]...)
	}
	return r, nil
}

// loadRows reads all rows, taking from KeptSpace those that are lost or older in
// nameSpace. An invalid row is an error: without it the name could be rolled
// back.
func loadRows(ctx context.Context, state rows.Store) (map[Name]row, error) {
	all, err := loadSpace(ctx, state, nameSpace)
	if err != nil {
		return nil, err
	}
	kept, err := loadSpace(ctx, state, KeptSpace)
	if err != nil {
		return nil, err
	}
	for name, r := range kept {
		if had, ok := all[name]; !ok || had.highest < r.highest {
			all[name] = r
		}
	}
	// A state written before KeptSpace existed has none.
	var missing []rows.Change
	for name, r := range all {
		was := kept[name]
		if now := r.keptValue(); !bytes.Equal(now, was.keptValue()) {
			missing = append(missing, rows.Change{Space: KeptSpace, Key: []byte(name.RoutingKey()), Value: now})
		}
	}
	if len(missing) > 0 {
		if err := state.Set(ctx, missing...); err != nil {
			return nil, fmt.Errorf("names: complete the state: %w", err)
		}
	}
	return all, nil
}

func loadSpace(ctx context.Context, state rows.Store, space string) (map[Name]row, error) {
	all := make(map[Name]row)
	for item, err := range state.All(ctx, space, nil) {
		if err != nil {
			return nil, fmt.Errorf("names: load state: %w", err)
		}
		name, err := parseRoutingKey(string(item.Key))
		if err != nil {
			return nil, fmt.Errorf("names: load state: %w", err)
		}
		r, err := unmarshalRow(item.Value)
		if err != nil {
			return nil, fmt.Errorf("names: load state of %s: %w", name, err)
		}
		r.from = FromState
		all[name] = r
	}
	return all, nil
}
