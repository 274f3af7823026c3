package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"
)

// A State is two small durable areas of keys and values: keys of 64 bytes at
// most, values of MaxRecord and a little more. What Set did survives a crash.
type State interface {
	// Set makes all the changes, or none.
	Set(ctx context.Context, changes ...Change) error
	// All lists all keys of an area with their values.
	All(ctx context.Context, area Area) iter.Seq2[Item, error]
}

// An Area is a part of a State.
type Area int

const (
	// AreaNames has all that is remembered. It is written whenever a record
	// comes, and whenever one was sent.
	AreaNames Area = iota
	// AreaKept has what could not be had again, of the names that are published
	// or followed here: their highest sequence, and our own records. It is
	// written when one of these changes, and serves where the other is lost.
	AreaKept
)

// A Change sets a key of a State, or removes it, where Value is nil. That it
// isn't there then is no error.
type Change struct {
	Area       Area
	Key, Value []byte
}

// An Item is a key of a State, and its value.
type Item struct {
	Key, Value []byte
}

// A row is what is remembered of a name.
type row struct {
	// own: the record is ours, to be renewed. followed: somebody here wants to
	// hear of new ones.
	own, followed bool
	// seen: highest means something.
	seen    bool
	highest uint64
	// raw is the best record; nil: none. It may have expired, and its sequence
	// is highest.
	raw []byte
	// heard is when the record came, or came once more; sent is when it was
	// last put into the value stores.
	heard, sent time.Time
	// lifetime is that of own records.
	lifetime time.Duration
	// from is who had the record when it was heard of. It isn't written down.
	from string
}

// kept: the row stays for as long as the operator wants it to.
func (r row) kept() bool { return r.own || r.followed }

// lasting is the value of a row in AreaKept; nil: it has none.
func (r row) lasting() []byte {
	if !r.kept() {
		return nil
	}
	r.heard, r.sent = time.Time{}, time.Time{}
	if !r.own {
		r.raw = nil // others have it
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

var errRow = errors.New("the row can't be read")

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
	for _, t := range []time.Time{r.heard, r.sent} {
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
	for i, t := range []*time.Time{&r.heard, &r.sent} {
		if ns := int64(binary.BigEndian.Uint64(b[10+8*i:])); ns != 0 {
			*t = time.Unix(0, ns)
		}
	}
	if len(b) > rowHeader {
		r.raw = append([]byte(nil), b[rowHeader:]...)
	}
	return r, nil
}

// loadRows reads all rows, and makes up for those that are lost or older than
// what is kept. One that can't be read is an error: what is forgotten can be
// rolled back.
func loadRows(ctx context.Context, state State) (map[Name]row, error) {
	rows, err := loadArea(ctx, state, AreaNames)
	if err != nil {
		return nil, err
	}
	kept, err := loadArea(ctx, state, AreaKept)
	if err != nil {
		return nil, err
	}
	for name, r := range kept {
		if had, ok := rows[name]; !ok || had.highest < r.highest {
			rows[name] = r
		}
	}
	// A state of before there was AreaKept hasn't got it.
	var late []Change
	for name, r := range rows {
		was := kept[name]
		if now := r.lasting(); !bytes.Equal(now, was.lasting()) {
			late = append(late, Change{AreaKept, []byte(name.RoutingKey()), now})
		}
	}
	if len(late) > 0 {
		if err := state.Set(ctx, late...); err != nil {
			return nil, fmt.Errorf("names: keep what is in the state: %w", err)
		}
	}
	return rows, nil
}

func loadArea(ctx context.Context, state State, area Area) (map[Name]row, error) {
	rows := make(map[Name]row)
	for item, err := range state.All(ctx, area) {
		if err != nil {
			return nil, fmt.Errorf("names: load state: %w", err)
		}
		name, err := nameOfRoutingKey(string(item.Key))
		if err != nil {
			return nil, fmt.Errorf("names: load state: %w", err)
		}
		r, err := unmarshalRow(item.Value)
		if err != nil {
			return nil, fmt.Errorf("names: load state of %s: %w", name, err)
		}
		r.from = FromState
		rows[name] = r
	}
	return rows, nil
}
