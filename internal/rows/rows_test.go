package rows

import (
	"fmt"
	"testing"
)

func TestMemory(t *testing.T) {
	ctx := t.Context()
	var m Memory
	list := func(space, prefix string) string {
		t.Helper()
		var all []string
		for r, err := range m.All(ctx, space, []byte(prefix)) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s=%s", r.Key, r.Value))
		}
		return fmt.Sprint(all)
	}
	set := func(changes ...Change) {
		t.Helper()
		if err := m.Set(ctx, changes...); err != nil {
			t.Fatal(err)
		}
	}
	key := func(k string) []byte { return []byte(k) }
	set(Change{"x", key("none"), nil})
	value := []byte("1")
	set(Change{"x", key("b"), value}, Change{"x", key("a"), []byte{}}, Change{"y", key("b2"), []byte("2")})
	value[0] = 'z' // the Memory has its own copy
	if got, want := list("x", ""), "[a= b=1]"; got != want {
		t.Errorf("all: got %s, want %s", got, want)
	}
	if got, want := list("x", "b"), "[b=1]"; got != want {
		t.Errorf("by prefix: got %s, want %s", got, want)
	}
	if got, ok, err := m.Get(ctx, "y", key("b2")); err != nil || !ok || string(got) != "2" {
		t.Errorf("get: got %q, %v, %v, want 2", got, ok, err)
	}
	if got, ok, err := m.Get(ctx, "y", key("b")); err != nil || ok {
		t.Errorf("get of another space: got %q, %v, %v, want none", got, ok, err)
	}
	set(Change{"x", key("a"), nil}, Change{"x", key("b"), []byte("3")})
	if got, want := list("x", ""), "[b=3]"; got != want {
		t.Errorf("after changes: got %s, want %s", got, want)
	}
}
