package control

import (
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// TestFind finds through a daemon what its node finds, in a DHT that two nodes
// entered by a third.
func TestFind(t *testing.T) {
	ctx := t.Context()
	config := cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true, Routing: cairn.RoutingServer}
	hub := newNode(t, config)
	addrs, err := hub.Addrs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	config.Routing, config.Bootstrap, config.Providing = cairn.RoutingAuto, []string{addrs[0].String()}, cairn.ProvideNone
	theirs, ours := newNode(t, config), serve(t, newNode(t, config))
	id, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := addFile(t, theirs, noise(100, 1), cairn.AddOptions{}).CID
	if _, err := Provide.Do(ctx, Local(theirs), BlockArgs{kept}); err != nil {
		t.Fatal(err)
	}
	ours.each(t, func(t *testing.T, target *Target) {
		questions, found := 0, false
		for f, err := range FindProviders.Do(ctx, target, FindArgs{kept, true}) {
			switch {
			case err != nil:
				t.Fatal(err)
			case f.Type == "question":
				if questions++; f.Hop < 1 || f.PeerID == "" || f.Source == "" || f.Took <= 0 || len(f.Distance) != 64 {
					t.Errorf("a question: got %+v, %+v", f, f.Question)
				}
			default:
				found = found || f.Type == "provider" && f.PeerID == id.String() && len(f.Addresses) > 0 && f.Source != "" && f.Question == nil
			}
		}
		if !found || questions == 0 {
			t.Errorf("providers: got %v after %d questions, want %s", found, questions, id)
		}
		for f, err := range FindPeer.Do(ctx, target, FindPeerArgs{id, false}) {
			if err != nil || f.Type != "peer" || f.PeerID != id.String() || len(f.Addresses) == 0 {
				t.Errorf("a peer: got %+v, %v", f, err)
			}
			break
		}
		status, err := RoutingStatus.Do(ctx, target, struct{}{})
		if err != nil || status.Mode != cairn.RoutingAuto || status.Peers == 0 {
			t.Errorf("status: got %+v, %v", status, err)
		}
		stats, err := ProvideStats.Do(ctx, target, struct{}{})
		if err != nil || stats.Strategy != cairn.ProvideNone || stats.Interval != 22*time.Hour {
			t.Errorf("stats: got %+v, %v", stats, err)
		}
	})
}
