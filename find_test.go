package cairn_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
)

// dhtOf opens a node that others enter the DHT by.
func dhtOf(t *testing.T) (hub *cairn.Node, addr string) {
	t.Helper()
	return listening(t, cairn.Config{Routing: cairn.RoutingServer})
}

// eventually waits until something is so; its end is that of the test.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s: it never came to be", what)
		}
	}
}

func providers(t *testing.T, n *cairn.Node, c cid.Cid) ([]cairn.Provider, error) {
	t.Helper()
	var all []cairn.Provider
	for p, err := range n.FindProviders(t.Context(), c) {
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func randomBytes(size int, seed byte) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// What one node has, another finds that knows nobody but the node by which both
// entered the DHT. Nobody is told to announce anything: it has an alias.
func TestSyncThroughTheDHT(t *testing.T) {
	ctx := t.Context()
	_, hub := dhtOf(t)
	theirs, _ := listening(t, cairn.Config{Bootstrap: []string{hub}})
	data := randomBytes(5<<20, 7)
	added, err := theirs.Add(ctx, bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ours := calling(t, cairn.Config{Bootstrap: []string{hub}})
	want, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "its provider is found", func() bool {
		found, _ := providers(t, ours, added.CID)
		return len(found) > 0 && found[0].ID == want
	})
	p, err := sync(t, ours, added.CID, cairn.SyncOptions{})
	if err != nil || !p.Done || p.Blocks != 6 {
		t.Fatalf("sync: got %+v, %v, want 6 blocks", p, err)
	}
	// Who delivered is remembered.
	found, err := providers(t, ours, added.CID)
	if err != nil || len(found) == 0 || found[0].ID != want || found[0].Source != "cache" {
		t.Errorf("providers afterwards: got %v, %v, want %s from the cache first", found, err, want)
	}
}
