package httpapi

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// maxSocketPath is the longest path that a Unix socket's address holds on all
// systems, in bytes.
const maxSocketPath = 100

// socketBuffer is how many bytes a Unix socket buffers. With the system's default,
// some 200 KiB, both sides wait for each other too often.
const socketBuffer = 1 << 20

// DialUnix connects to a Unix socket, however long its path is.
func DialUnix(ctx context.Context, d *net.Dialer, path string) (conn net.Conn, err error) {
	err = withShortPath(path, func(path string) error {
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if u, ok := conn.(*net.UnixConn); ok {
		// The system may allow less, which does no harm.
		_ = u.SetWriteBuffer(socketBuffer)
	}
	return conn, err
}

// A unixListener accepts connections with a large send buffer.
type unixListener struct{ *net.UnixListener }

func (l unixListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteBuffer(socketBuffer)
	return conn, nil
}

// ListenUnix listens on a Unix socket at path that only the same user may
// connect to. It replaces a file at path: the caller knows that no other process
// listens there. Closing the listener leaves the socket's file.
func ListenUnix(path string) (net.Listener, error) {
	// The socket is made in a private folder, and moved once it has the right
	// mode: at no moment may other users connect.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".api-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	var l *net.UnixListener
	err = withShortPath(made, func(short string) error {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at unix:%s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen at unix:%s: %w", path, err)
	}
	return unixListener{l}, nil
}

// withShortPath calls do with a path that fits into a socket's address. On Linux a
// longer path is reached through the folder's descriptor.
func withShortPath(path string, do func(string) error) error {
	if len(path) <= maxSocketPath || runtime.GOOS != "linux" {
		return do(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)))
}
