package names

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"pgregory.net/rapid"
)

// A modelName is the model's state of a name: all records that may occur, and
// what Names must hold.
type modelName struct {
	key     crypto.PrivKey
	name    Name
	made    []*Record // all that may occur, valid and expired
	held    *Record
	highest uint64
	seen    bool
	own     bool
	stored  []*Record // in the value store
}

// accept models a received record.
func (m *modelName) accept(r *Record) error {
	switch {
	case r.Valid(time.Now()) != nil:
		return ErrExpired
	case m.seen && r.sequence < m.highest:
		return ErrRollback
	}
	if m.held == nil || r.sequence > m.held.sequence || r.sequence == m.held.sequence && r.Compare(m.held) > 0 {
		m.held, m.highest, m.seen = r, r.sequence, true
	}
	return nil
}

// finishLookup models a lookup that ends.
func (m *modelName) finishLookup() {
	for _, r := range m.stored {
		// A refused record changes nothing.
		_ = m.accept(r)
	}
}

// TestModel runs random operations and restarts, and compares the sequences with
// a model.
func TestModel(t *testing.T) {
	// Keys and records are made once: signing is slow.
	names := make([]*modelName, 3)
	for i := range names {
		key, name := newKey(t)
		m := &modelName{key: key, name: name}
		for sequence := range uint64(6) {
			for _, end := range []time.Duration{-time.Hour, time.Hour, 2 * time.Hour} {
				value := pathA
				if sequence%2 == 1 {
					value = pathB
				}
				m.made = append(m.made, mustRecord(t, key, Fields{Value: value, Sequence: sequence, Validity: time.Now().Add(end)}))
			}
		}
		names[i] = m
	}
	rapid.Check(t, func(rt *rapid.T) {
		state, store := &memoryState{}, &memoryStore{}
		c := Config{Network: Network{Stores: []ValueStore{store}}, State: state}
		open := func() *Names {
			n, err := New(t.Context(), c)
			if err != nil {
				rt.Fatal(err)
			}
			return n
		}
		n := open()
		defer func() { n.Close() }()
		models := make([]*modelName, len(names))
		for i, m := range names {
			models[i] = &modelName{key: m.key, name: m.name, made: m.made}
		}
		draw := func(rt *rapid.T) (*modelName, *Record) {
			m := rapid.SampledFrom(models).Draw(rt, "name")
			return m, rapid.SampledFrom(m.made).Draw(rt, "record")
		}
		// sync sets the model's content of the store.
		sync := func(m *modelName, r *Record) {
			m.stored = []*Record{r}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"offer": func(rt *rapid.T) {
				m, r := draw(rt)
				store.add(m.name, r.Bytes())
				m.stored = append(m.stored, r)
			},
			"vanish": func(rt *rapid.T) {
				m, _ := draw(rt)
				store.clear(m.name)
				m.stored = nil
			},
			"put": func(rt *rapid.T) {
				m, r := draw(rt)
				want := m.accept(r)
				got, err := n.Put(t.Context(), m.name, r.Bytes())
				if !errors.Is(err, want) {
					rt.Fatalf("Put of %d: got %v, want %v", r.sequence, err, want)
				}
				if want == nil {
					if got.Compare(m.held) != 0 {
						rt.Fatalf("Put of %d: got %d, want %d", r.sequence, got.sequence, m.held.sequence)
					}
					sync(m, m.held)
				}
			},
			"publish": func(rt *rapid.T) {
				m, _ := draw(rt)
				floor, some := m.highest, m.seen
				for _, r := range m.stored {
					floor, some = max(floor, r.sequence), true
				}
				m.finishLookup()
				p := Publication{Value: pathA, Lifetime: time.Hour, Sequence: rapid.SampledFrom([]uint64{0, 0, 3, 9}).Draw(rt, "sequence")}
				got, err := n.Publish(t.Context(), m.key, p)
				if some && p.Sequence != 0 && p.Sequence <= floor {
					if !errors.Is(err, ErrRollback) {
						rt.Fatalf("Publish with %d over %d: got %v, want ErrRollback", p.Sequence, floor, err)
					}
					return
				}
				want := p.Sequence
				if want == 0 && some {
					want = floor + 1
				}
				if err != nil || got.sequence != want {
					rt.Fatalf("Publish over %d: got %v, %v, want %d", floor, got, err, want)
				}
				m.held, m.highest, m.seen, m.own = got, want, true, true
				sync(m, got)
			},
			"latest": func(rt *rapid.T) {
				m, _ := draw(rt)
				m.finishLookup()
				got, err := n.LookupLatest(t.Context(), m.name)
				checkRecord(rt, "Latest", m, got, err)
			},
			"follow": func(rt *rapid.T) {
				m, _ := draw(rt)
				if err := n.Follow(t.Context(), m.name); err != nil {
					rt.Fatal(err)
				}
			},
			"forget": func(rt *rapid.T) {
				m, _ := draw(rt)
				if err := n.Forget(t.Context(), m.name); err != nil {
					rt.Fatal(err)
				}
				m.held, m.highest, m.seen, m.own = nil, 0, false, false
			},
			"restart": func(rt *rapid.T) {
				if err := n.Close(); err != nil {
					rt.Fatal(err)
				}
				n = open()
			},
			"": func(rt *rapid.T) {
				for _, m := range models {
					r, held := n.cache.get(m.name)
					if r.seen != m.seen || r.highest != m.highest || r.own != m.own {
						rt.Fatalf("got %s, want highest %d, %v, own %v", describe(r), m.highest, m.seen, m.own)
					}
					if (held == nil) != (m.held == nil) || held != nil && held.Compare(m.held) != 0 {
						rt.Fatalf("got the record %v, want %v", held, m.held)
					}
				}
			},
		})
	})
}

func describe(r row) string { return fmt.Sprintf("highest %d, %v, own %v", r.highest, r.seen, r.own) }

func checkRecord(rt *rapid.T, what string, m *modelName, got *Record, err error) {
	if m.held == nil {
		if !errors.Is(err, ErrNotFound) {
			rt.Fatalf("%s: got %v, %v, want ErrNotFound", what, got, err)
		}
		return
	}
	if err != nil || got.Compare(m.held) != 0 {
		rt.Fatalf("%s: got %v, %v, want sequence %d", what, got, err, m.held.sequence)
	}
}
