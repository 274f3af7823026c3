package rpc

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

// socketBuffer is how many bytes may be on their way through a Unix socket. With
// the system's own 200 KiB or so, each side waits for the other all the time.
const socketBuffer = 1 << 20

// dialUnix connects to a Unix socket, however long its path is.
func dialUnix(ctx context.Context, d *net.Dialer, path string) (conn net.Conn, err error) {
	err = shortly(path, func(path string) error {
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if u, ok := conn.(*net.UnixConn); ok {
		// The system may allow less, which is no harm.
		_ = u.SetWriteBuffer(socketBuffer)
	}
	return conn, err
}

// A unixListener accepts connections with room for what is sent.
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
// connect to. What is at path is replaced: the caller knows that nobody else
// listens there. The socket's file stays when the listener is closed.
func ListenUnix(path string) (net.Listener, error) {
	// The socket is made where nobody else may look, and moved when it has the
	// right mode: there's no moment at which others may connect.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".api-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	var l *net.UnixListener
	err = shortly(made, func(short string) error {
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

// shortly calls do with a path that a socket's address can hold. On Linux a
// longer one is reached through the folder's descriptor.
func shortly(path string, do func(string) error) error {
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
