package store

import (
	"strings"
	"sync"

	"github.com/cairn-ipfs/cairn/internal/pack"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A gateFS stops calls on pack files, so that a test can inspect the store
// meanwhile.
type gateFS struct {
	vfs.FS
	mu   sync.Mutex // guards gate
	gate *gate
}

// A gate stops the first call of one kind on one pack: it closes arrived, and lets
// the call continue when open is closed.
type gate struct {
	call    string // "read", "write" or "sync"
	pack    pack.ID
	arrived chan struct{}
	open    chan struct{}
}

// stop arms the gate for the next call of a kind on a pack.
func (g *gateFS) stop(call string, id pack.ID) *gate {
	x := &gate{call: call, pack: id, arrived: make(chan struct{}), open: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = x
	return x
}

func (g *gateFS) pass(call, name string) {
	g.mu.Lock()
	x := g.gate
	if x == nil || x.call != call || !strings.HasSuffix(name, x.pack.Name()) {
		g.mu.Unlock()
		return
	}
	g.gate = nil
	g.mu.Unlock()
	close(x.arrived)
	<-x.open
}

func (g *gateFS) Unwrap() vfs.FS { return g.FS }

func (g *gateFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.Open(name, o...)
	return g.file(f, name), err
}

func (g *gateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	return g.file(f, name), err
}

func (g *gateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(name, c, o...)
	return g.file(f, name), err
}

func (g *gateFS) file(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return &gateFile{f, g, name}
}

type gateFile struct {
	vfs.File
	g    *gateFS
	name string
}

func (f *gateFile) ReadAt(p []byte, off int64) (int, error) {
	f.g.pass("read", f.name)
	return f.File.ReadAt(p, off)
}

func (f *gateFile) SyncData() error {
	f.g.pass("sync", f.name)
	return f.File.SyncData()
}

func (f *gateFile) WriteAt(p []byte, off int64) (int, error) {
	f.g.pass("write", f.name)
	return f.File.WriteAt(p, off)
}
