package swarm

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

// TestUPnP has a swarm in a network with a UPnP gateway. The swarm asks it for a
// port for each transport, announces the gateway's address, and closes the ports
// when it closes. UPnP asks all of the local network except loopback, so the test
// runs in a network namespace. (If two transports have the same port number, libp2p
// does not close one of the two; the router does, a minute later.)
func TestUPnP(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const inside, outside = "192.168.77.1", "5.6.7.8"
	g := newGateway(t, newInterface(t, inside), inside, outside)
	s := newSwarm(t, Config{Listen: []string{"/ip4/" + inside + "/tcp/0", "/ip4/" + inside + "/udp/0/quic-v1"}})
	listening := make(map[string]bool)
	for _, addr := range s.host.Network().ListenAddresses() {
		for code, name := range map[int]string{ma.P_TCP: "TCP", ma.P_UDP: "UDP"} {
			if port, err := addr.ValueForProtocol(code); err == nil {
				listening[name+" "+inside+":"+port] = true
			}
		}
	}
	eventually(t, "both ports are open", func() bool { return len(g.ports()) == 2 })
	mapped := g.ports()
	for at, to := range mapped {
		kind, port, _ := strings.Cut(at, " ")
		if !listening[kind+" "+to] {
			t.Errorf("port %s leads to %s, want one of %v", at, to, listening)
		}
		want := "/ip4/" + outside + "/tcp/" + port
		if kind == "UDP" {
			want = "/ip4/" + outside + "/udp/" + port + "/quic-v1"
		}
		eventually(t, "the external address is announced", func() bool {
			for _, addr := range s.AddrInfo().Addrs {
				if addr.String() == want {
					return true
				}
			}
			return false
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := g.ports(); len(left) > 0 {
		t.Errorf("after Close: got the ports %v still open, want none", left)
	}
}

const (
	upnpDevice  = "urn:schemas-upnp-org:device:WANConnectionDevice:1"
	upnpService = "urn:schemas-upnp-org:service:WANIPConnection:1"
)

// A gateway is a UPnP router (Internet Gateway Device 1): SSDP finds it, XML
// describes it, and SOAP opens its ports.
type gateway struct {
	outside string

	mu   sync.Mutex        // guards the following
	open map[string]string // "TCP 1234" to "192.168.77.1:4001"
}

func newGateway(t *testing.T, lan *net.Interface, inside, outside string) *gateway {
	t.Helper()
	g := &gateway{outside: outside, open: make(map[string]string)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /description", g.describe)
	mux.HandleFunc("POST /control", g.control)
	l, err := net.Listen("tcp", net.JoinHostPort(inside, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	asked, err := net.ListenMulticastUDP("udp4", lan, &net.UDPAddr{IP: net.IPv4(239, 255, 255, 250), Port: 1900})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l) })
	running.Go(func() { g.answer(asked, "http://"+l.Addr().String()+"/description") })
	t.Cleanup(func() {
		server.Close()
		asked.Close()
		running.Wait()
	})
	return g
}

// answer answers searches for gateways.
func (g *gateway) answer(c *net.UDPConn, location string) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDP(buf)
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(buf[:n])))
		if err != nil || r.Method != "M-SEARCH" || r.Header.Get("ST") != upnpDevice {
			continue
		}
		fmt.Fprintf(&packetWriter{c, from}, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nST: %s\r\nUSN: uuid:1::%s\r\nLOCATION: %s\r\n\r\n",
			upnpDevice, upnpDevice, location)
	}
}

// A packetWriter writes packets to one address.
type packetWriter struct {
	c  *net.UDPConn
	at *net.UDPAddr
}

func (w *packetWriter) Write(p []byte) (int, error) { return w.c.WriteToUDP(p, w.at) }

func (g *gateway) describe(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>%s</deviceType><friendlyName>gateway</friendlyName><UDN>uuid:1</UDN>
<serviceList><service><serviceType>%s</serviceType><serviceId>urn:upnp-org:serviceId:1</serviceId>
<SCPDURL>/service</SCPDURL><controlURL>/control</controlURL><eventSubURL>/events</eventSubURL></service></serviceList>
</device></root>`, upnpDevice, upnpService)
}

// control performs the action of a SOAP message.
func (g *gateway) control(w http.ResponseWriter, r *http.Request) {
	_, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPAction"), `"`), "#")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	arg := arguments(body)
	at := arg["NewProtocol"] + " " + arg["NewExternalPort"]
	var results string
	switch action {
	case "GetNATRSIPStatus":
		results = "<NewRSIPAvailable>0</NewRSIPAvailable><NewNATEnabled>1</NewNATEnabled>"
	case "GetExternalIPAddress":
		results = "<NewExternalIPAddress>" + g.outside + "</NewExternalIPAddress>"
	case "AddPortMapping":
		g.mu.Lock()
		g.open[at] = net.JoinHostPort(arg["NewInternalClient"], arg["NewInternalPort"])
		g.mu.Unlock()
	case "DeletePortMapping":
		g.mu.Lock()
		delete(g.open, at)
		g.mu.Unlock()
	default:
		http.Error(w, "unknown action "+action, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", `text/xml; charset="utf-8"`)
	fmt.Fprintf(w, `<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">
<s:Body><u:%sResponse xmlns:u="%s">%s</u:%sResponse></s:Body></s:Envelope>`, action, upnpService, results, action)
}

// arguments returns the elements of a message that have text.
func arguments(message []byte) map[string]string {
	all := make(map[string]string)
	name := ""
	for d := xml.NewDecoder(bytes.NewReader(message)); ; {
		token, err := d.Token()
		if err != nil {
			return all
		}
		switch token := token.(type) {
		case xml.StartElement:
			name = token.Name.Local
		case xml.CharData:
			all[name] += string(token)
		case xml.EndElement:
			name = ""
		}
	}
}

// ports returns the open ports and their targets.
func (g *gateway) ports() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.open)
}
