package names

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
)

// A memoryState is a rows.Store that outlives a Names. Get is not called.
type memoryState struct {
	rows.Store

	mu         sync.Mutex        // guards the following fields
	m          map[string]string // nameSpace
	kept       map[string]string // KeptSpace
	fail       error
	keptWrites int // number of changes to KeptSpace
}

var _ rows.Store = (*memoryState)(nil)

func (s *memoryState) Set(_ context.Context, changes ...rows.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.m == nil {
		s.m = make(map[string]string)
	}
	if s.kept == nil {
		s.kept = make(map[string]string)
	}
	for _, c := range changes {
		area := s.m
		if c.Space == KeptSpace {
			area = s.kept
			s.keptWrites++
		}
		if area[string(c.Key)] = string(c.Value); c.Value == nil {
			delete(area, string(c.Key))
		}
	}
	return nil
}

func (s *memoryState) All(_ context.Context, space string, _ []byte) iter.Seq2[rows.Row, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.m)
	if space == KeptSpace {
		all = maps.Clone(s.kept)
	}
	return func(yield func(rows.Row, error) bool) {
		for k, v := range all {
			if !yield(rows.Row{Key: []byte(k), Value: []byte(v)}, nil) {
				return
			}
		}
	}
}

// loseNames clears nameSpace, as a rebuild from the packs does.
func (s *memoryState) loseNames() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.m)
}

// countKeptWrites returns the number of changes to KeptSpace.
func (s *memoryState) countKeptWrites() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keptWrites
}

func (s *memoryState) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.m)
}

// A memoryStore is a ValueStore that stores any value, even an invalid one.
type memoryStore struct {
	mu       sync.Mutex // guards the following fields
	m        map[string][][]byte
	searches int
	puts     [][]byte
	fail     error
}

var _ ValueStore = (*memoryStore)(nil)

func (s *memoryStore) add(name Name, raw ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string][][]byte)
	}
	s.m[name.RoutingKey()] = append(s.m[name.RoutingKey()], raw...)
}

func (s *memoryStore) clear(name Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, name.RoutingKey())
}

func (s *memoryStore) PutValue(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.m == nil {
		s.m = make(map[string][][]byte)
	}
	s.m[key] = [][]byte{value}
	s.puts = append(s.puts, value)
	return nil
}

func (s *memoryStore) SearchValue(_ context.Context, key string) iter.Seq2[Value, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searches++
	values, fail := s.m[key], s.fail
	return func(yield func(Value, error) bool) {
		if fail != nil {
			yield(Value{}, fail)
			return
		}
		for _, v := range values {
			if !yield(Value{v, "memory"}, nil) {
				return
			}
		}
	}
}

func (s *memoryStore) countSearches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.searches
}

func (s *memoryStore) received() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

// A hangingStore yields its records, and then hangs: until release is closed,
// ignoring the context, or until the context ends if release is nil.
type hangingStore struct {
	raw     [][]byte
	release chan struct{}
}

func (s *hangingStore) wait(ctx context.Context) error {
	if s.release != nil {
		<-s.release
		return errors.New("released")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *hangingStore) PutValue(ctx context.Context, _ string, _ []byte) error { return s.wait(ctx) }

func (s *hangingStore) SearchValue(ctx context.Context, _ string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		for _, raw := range s.raw {
			if !yield(Value{Data: raw}, nil) {
				return
			}
		}
		yield(Value{}, s.wait(ctx))
	}
}

// A noisyStore yields noise without end.
type noisyStore struct{ raw []byte }

func (s noisyStore) PutValue(context.Context, string, []byte) error { return nil }

func (s noisyStore) SearchValue(context.Context, string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		for yield(Value{Data: s.raw}, nil) {
		}
	}
}

// newNames makes a Names that the test's cleanup closes.
func newNames(t testing.TB, c Config) *Names {
	t.Helper()
	n, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func wantRecord(t *testing.T, what string, got *Record, err error, want *Record) {
	t.Helper()
	switch {
	case err != nil:
		t.Errorf("%s: %v", what, err)
	case got == nil:
		t.Errorf("%s: got no record", what)
	case string(got.raw) != string(want.raw):
		t.Errorf("%s: got sequence %d until %s, want %d until %s", what, got.sequence, got.validity, want.sequence, want.validity)
	}
}

// checkDuration runs f in a synctest bubble, and fails if it took longer than limit.
func checkDuration(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		t.Errorf("it took %v, want %v at most", took, limit)
	}
}
