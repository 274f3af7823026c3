package cairn_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
)

// TestPeerEvents gets events from the call on, and last the error that ended
// them.
func TestPeerEvents(t *testing.T) {
	theirs, addr := listening(t, cairn.Config{})
	ours := calling(t, cairn.Config{})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("no such event"))
	defer cancel()
	next, stop := iter.Pull2(ours.PeerEvents(ctx))
	defer stop()
	id, err := ours.Connect(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	await := func(want cairn.PeerEventKind) {
		t.Helper()
		for {
			e, err, ok := next()
			if !ok || err != nil {
				t.Fatalf("got %+v, %v, %t, want %s", e, err, ok, want)
			}
			if e.Kind == want && e.Peer == id {
				return
			}
		}
	}
	await(cairn.PeerEventConnected)
	closed := theirs.PeerEvents(t.Context())
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	await(cairn.PeerEventDisconnected)
	cancel()
	for {
		_, err, ok := next()
		if !ok {
			t.Fatal("the events ended without an error")
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want Canceled", err)
			}
			break
		}
	}
	if _, _, ok := next(); ok {
		t.Error("something came after the error")
	}

	if err := lastOf(closed); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: got %v, want ErrClosed", err)
	}
	offline := calling(t, cairn.Config{Offline: true})
	if err := lastOf(offline.PeerEvents(t.Context())); !errors.Is(err, cairn.ErrOffline) {
		t.Errorf("offline: got %v, want ErrOffline", err)
	}
}

// TestNameUpdatesEnd: the error that ended the updates is the last.
func TestNameUpdatesEnd(t *testing.T) {
	n := calling(t, cairn.Config{Offline: true})
	record, err := n.PublishName(t.Context(), "", "/ipfs/bafkqaaa", cairn.PublishOptions{})
	if err != nil && !errors.Is(err, cairn.ErrNotSent) {
		t.Fatal(err)
	}
	stranger := "k51qzi5uqu5dkkciu33khkzbcmxtyhn376i1e83tya8kuy7z9euedzyr5nhoew"
	if err := lastOf(n.NameUpdates(t.Context(), stranger)); !errors.Is(err, cairn.ErrNameNotFound) {
		t.Errorf("not followed: got %v, want ErrNameNotFound", err)
	}
	updates := n.NameUpdates(t.Context(), record.Name)
	next, stop := iter.Pull2(updates)
	defer stop()
	if r, err, ok := next(); !ok || err != nil || r.Value != "/ipfs/bafkqaaa" {
		t.Fatalf("got %+v, %v, %t", r, err, ok)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err, ok := next(); !ok || !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: got %v, %t, want ErrClosed", err, ok)
	}
	if _, _, ok := next(); ok {
		t.Error("something came after the error")
	}
}

// lastOf returns the error that events end with.
func lastOf[E any](events iter.Seq2[E, error]) (last error) {
	for _, err := range events {
		last = err
	}
	return last
}
