package swarm

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"
)

// namespaced is set in a process that has a network of its own.
const namespaced = "CAIRN_TEST_NAMESPACE"

// inNamespace runs the calling test again in a process with a network namespace of
// its own, and returns true there. If the user may not make namespaces, the test
// fails.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaced) != "" {
		return true
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	again.Env = append(os.Environ(), namespaced+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

// configure sets a property of an interface (netdevice(7)): a struct ifreq is a
// name of 16 bytes and a value.
func configure(t *testing.T, name string, what uintptr, value []byte) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var request [40]byte
	copy(request[:syscall.IFNAMSIZ-1], name)
	copy(request[syscall.IFNAMSIZ:], value)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Fatalf("interface %s: %v", name, errno)
	}
}

// raise brings an interface up, with multicast.
func raise(t *testing.T, name string) {
	t.Helper()
	configure(t, name, syscall.SIOCSIFFLAGS, binary.NativeEndian.AppendUint16(nil, syscall.IFF_UP|syscall.IFF_RUNNING|syscall.IFF_MULTICAST))
}

// newInterface makes an unconnected interface with an address in a /24 network, and
// brings it up.
func newInterface(t *testing.T, address string) *net.Interface {
	t.Helper()
	const name = "lan"
	var err error
	for _, kind := range []string{"dummy", "veth", "bridge"} { // kernels differ
		if err = addLink(name, kind); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("a new interface: %v", err)
	}
	sockaddr := append(binary.NativeEndian.AppendUint16(nil, syscall.AF_INET), 0, 0) // and the port
	configure(t, name, syscall.SIOCSIFADDR, append(sockaddr, net.ParseIP(address).To4()...))
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all { // with the other end of a veth
		raise(t, i.Name)
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// addLink asks the kernel for an interface (rtnetlink(7)).
func addLink(name, kind string) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	const infoKind = 1 // IFLA_INFO_KIND
	message := make([]byte, syscall.NLMSG_HDRLEN+syscall.SizeofIfInfomsg)
	message = append(message, attribute(syscall.IFLA_IFNAME, append([]byte(name), 0))...)
	message = append(message, attribute(syscall.IFLA_LINKINFO, attribute(infoKind, []byte(kind)))...)
	const flags = syscall.NLM_F_REQUEST | syscall.NLM_F_CREATE | syscall.NLM_F_EXCL | syscall.NLM_F_ACK
	binary.NativeEndian.PutUint32(message[0:], uint32(len(message)))
	binary.NativeEndian.PutUint16(message[4:], syscall.RTM_NEWLINK)
	binary.NativeEndian.PutUint16(message[6:], flags)
	if err := syscall.Sendto(fd, message, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, os.Getpagesize())
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < syscall.NLMSG_HDRLEN+4 {
		return syscall.EBADMSG
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[syscall.NLMSG_HDRLEN:])); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

// attribute returns a struct rtattr with its value, padded to four bytes.
func attribute(kind uint16, value []byte) []byte {
	size := syscall.SizeofRtAttr + len(value)
	out := binary.NativeEndian.AppendUint16(nil, uint16(size))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = append(out, value...)
	return append(out, make([]byte, (4-size%4)%4)...)
}
