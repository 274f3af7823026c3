package kubo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
)

func TestRepo(t *testing.T) {
	d := newDaemon(t, nil)
	var stat struct{ RepoSize, StorageMax, NumObjects uint64 }
	if err := json.Unmarshal([]byte(d.ask(t, "repo/stat").body), &stat); err != nil || stat.StorageMax < stat.RepoSize {
		t.Errorf("repo/stat: got %+v, %v", stat, err)
	}
	d.add(t, []byte("garbage"), cairn.AddOptions{NoPin: true})
	d.ask(t, "repo/gc")
	if st, err := d.node.Store().Stats(t.Context()); err != nil || st.CachedBlocks != 0 {
		t.Errorf("repo/gc: got %d cached blocks, %v, want none", st.CachedBlocks, err)
	}
	if got := d.ask(t, "repo/verify").body; !strings.Contains(got, "all blocks validated") {
		t.Errorf("repo/verify: got %s", got)
	}
	d.ask(t, "repo/version")
	if got := d.ask(t, "version").body; !strings.Contains(got, `"Version":"9.9"`) || !strings.Contains(got, `"Golang":"go`) {
		t.Errorf("version: got %s", got)
	}
	var id idShape
	if err := json.Unmarshal([]byte(d.ask(t, "id").body), &id); err != nil || id.ID == "" || id.PublicKey == "" {
		t.Errorf("id: got %+v, %v", id, err)
	}
}
