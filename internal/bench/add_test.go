package bench_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// add adds path to the store as the command does: it is durable on return.
func (s *stage) add(st *store.Store, path string) cid.Cid {
	s.Helper()
	batch := st.Batch()
	r, err := unixfs.ImportPath(s.Context(), store.Internal(access.Key{}).Borrow(batch), path, unixfs.Options{})
	s.check(err)
	batch.Alias("pin/"+r.CID.String(), r.CID, store.AliasOptions{})
	s.check(batch.Commit(s.Context()))
	return r.CID
}

// compareAdd times add into a new store beside a yardstick that writes a file.
func (s *stage) compareAdd(path string, yardstick func(from, to string) error) (best, beside float64) {
	return s.alternate(func() (d time.Duration) {
		s.scratch(func(dir string) {
			st := s.open(dir)
			d = timeOf(func() { s.add(st, path) })
			s.check(st.Close())
		})
		return d
	}, func() (d time.Duration) {
		s.scratch(func(dir string) {
			d = timeOf(func() { s.check(yardstick(path, filepath.Join(dir, "out"))) })
		})
		return d
	})
}

func measureAddFile(s *stage) []row {
	r := row{
		work: "add one random file of " + formatBytes(s.file) + ", chunks of 1 MiB, durable",
		kubo: "5.6 s", yardstick: "plain loop: read, SHA-256, write, fsync",
		unit: "s", goal: goal{ratio: 1.25},
	}
	r.cairn, r.beside = s.compareAdd(s.newRandomFile(s.file), plainLoop)
	return []row{r}
}

func measureAddTree(s *stage) []row {
	root := s.goTree()
	files, size := 0, int64(0)
	s.check(filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path) // also warms the page cache
		files++
		size += int64(len(data))
		return err
	}))
	r := row{
		work: fmt.Sprintf("add a source tree (%d files, %s), durable", files, formatBytes(size)),
		kubo: "4.5 s", yardstick: "plain loop over the files: read, SHA-256, append to one file, fsync",
		unit: "s", goal: goal{ratio: 1.5},
	}
	r.cairn, r.beside = s.compareAdd(root, plainTree)
	return []row{r}
}

// measureCat measures reading a file back through a loopback socket.
func measureCat(s *stage) []row {
	name := s.newRandomFile(s.file)
	r := row{
		work: "read a file of " + formatBytes(s.file) + " back, through a socket",
		kubo: "3.3 s", yardstick: "the file itself, copied through the same socket",
		unit: "s", goal: goal{ratio: 1.3},
	}
	s.scratch(func(dir string) {
		st := s.open(dir)
		root := s.add(st, name)
		r.cairn, r.beside = s.alternate(func() time.Duration {
			return timeOf(func() {
				s.sendThroughSocket(func(to io.Writer) (int64, error) {
					f, err := unixfs.Open(s.Context(), store.Internal(access.Key{}).Reader(st), root)
					if err != nil {
						return 0, err
					}
					defer f.Close()
					return io.Copy(to, f)
				})
			})
		}, func() time.Duration {
			return timeOf(func() {
				s.sendThroughSocket(func(to io.Writer) (int64, error) {
					f, err := os.Open(name)
					if err != nil {
						return 0, err
					}
					defer f.Close()
					return io.Copy(to, f)
				})
			})
		})
		s.check(st.Close())
	})
	return []row{r}
}

// sendThroughSocket calls send with one end of a loopback socket, and reads the
// other end.
func (s *stage) sendThroughSocket(send func(io.Writer) (int64, error)) {
	s.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.check(err)
	defer listener.Close()
	sent := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = send(conn)
			conn.Close()
		}
		sent <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	s.check(err)
	defer conn.Close()
	got, buf := int64(0), make([]byte, 256<<10)
	for err == nil {
		var n int
		n, err = conn.Read(buf)
		got += int64(n)
	}
	if err != io.EOF {
		s.check(err)
	}
	s.check(<-sent)
	if got != s.file {
		s.Fatalf("got %d bytes, want %d", got, s.file)
	}
}

// formatBytes formats a number of bytes with a binary unit.
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v := float64(n)
	i := 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.4g %s", v, units[i])
}
