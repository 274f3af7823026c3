package swarm

import (
	"encoding/binary"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	ma "github.com/multiformats/go-multiaddr"
)

// namespaced says that the process has a network of its own.
const namespaced = "CAIRN_TEST_NAMESPACE"

// TestMDNS has swarms find each other. mDNS speaks to all of the local network,
// and loopback has no multicast, as a rule: so the test runs again in a process
// whose network is a loopback of its own, with multicast.
func TestMDNS(t *testing.T) {
	if os.Getenv(namespaced) == "" {
		again := exec.Command(os.Args[0], "-test.run=^TestMDNS$")
		again.Env = append(os.Environ(), namespaced+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("in a namespace: %v\n%s", err, out)
		}
		return
	}
	multicastLoopback(t)
	a, quiet := local(t, Config{MDNS: true}), local(t, Config{})
	await := watch(t, a)
	b := local(t, Config{MDNS: true})
	await(EventDiscovered, b.ID())
	await(EventConnected, b.ID())
	if known := a.KnownAddrs(b.ID()); len(known) == 0 {
		t.Error("address book: got nothing of the peer that was found")
	}

	// One more address is announced, too, and who begins later finds both. That one
	// never speaks to b, which could tell it otherwise.
	if err := b.ListenOn(onQUIC); err != nil {
		t.Fatal(err)
	}
	banned, err := encodeRecord(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	store.records[b.ID()] = banned
	c := local(t, Config{MDNS: true, Addresses: store})
	eventually(t, "the new address is heard of", func() bool {
		for _, known := range c.KnownAddrs(b.ID()) {
			if _, err := known.Addr.ValueForProtocol(ma.P_QUIC_V1); err == nil && known.Source == SourceMDNS {
				return true
			}
		}
		return false
	})
	eventually(t, "the others know each other", func() bool {
		return a.Peer(c.ID()).Connections > 0 && c.Peer(a.ID()).Connections > 0
	})
	if got := len(quiet.Peers()); got != 0 {
		t.Errorf("a swarm without mDNS was found by %d", got)
	}
}

// multicastLoopback brings loopback up, with multicast (netdevice(7)).
func multicastLoopback(t *testing.T) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var request [40]byte // a struct ifreq: a name of 16 bytes, and flags
	copy(request[:], "lo")
	binary.NativeEndian.PutUint16(request[16:], syscall.IFF_UP|syscall.IFF_RUNNING|syscall.IFF_LOOPBACK|syscall.IFF_MULTICAST)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Fatal(errno)
	}
}
