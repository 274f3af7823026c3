package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/kubo"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/spf13/cobra"
)

const (
	// grace is how long running requests may take when the daemon closes. Then they
	// are cut off, which takes less than a second.
	grace = 2 * time.Second
	// maxHeader bounds a request's line and header, in bytes: the API's longest
	// line and some more.
	maxHeader = 1 << 20
	// headerTimeout is how long a client may take to send a request's header.
	// idleTimeout is how long a connection stays open between requests.
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute
)

func (a *app) serveCommand() *cobra.Command {
	var listen []string
	var api, gateway string
	flags := []keyFlag{
		{"bootstrap", "swarm.bootstrap", "connect at once to the peer at this `address` (may be repeated); public, or none"},
		{"routing", "routing.mode", "whom to ask for providers: `MODE` is auto, client, server, accelerated, delegated, lan or none"},
		{"delegated-routers", "routing.routers", "ask the router at this `URL` (may be repeated); public, or none"},
		{"provide", "routing.provide", "announce `WHAT` of what aliases keep: roots, entities, all or none"},
	}
	cmd := &cobra.Command{
		Use:     "serve",
		Aliases: []string{"daemon"},
		Short:   "Serve the repository: to peers, to programs, and to other commands",
		Long: `Opens the repository, and serves it until it is told to end (Ctrl-C, SIGTERM, or
cairn shutdown): blocks to peers, an API to programs, and a gateway to whoever
speaks HTTP. While it runs, other commands work through it.

The API is that of Kubo, at a Unix socket in the repository (api.sock), which is
for the same user alone, and at --api. The gateway is a trustless one, for
blocks and CARs. Addresses of both are HOST:PORT, or :PORT for this machine
alone; port 0 is any that is free, and "off" is none.

--listen takes multiaddrs, :PORT for all kinds at that port, or "off". Others are
found, and what aliases keep is announced, in the network that --bootstrap leads
to: the public one, unless the daemon listens on this machine alone.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.applyKeyFlags(cmd, flags); err != nil {
				return err
			}
			fl := cmd.Flags()
			if !fl.Changed("listen") {
				listen = a.set.list("swarm.listen")
			}
			if !fl.Changed("api") {
				api = a.set.text("api.addr")
			}
			if !fl.Changed("gateway") {
				gateway = a.set.text("gateway.addr")
			}
			if a.daemonAddress != "" {
				return usageErrorf("serve: --daemon is for commands that ask one")
			}
			addrs, local, err := listenAddrs(listen)
			if err == nil {
				err = errors.Join(checkAddr(api), checkAddr(gateway))
			}
			if err != nil {
				return asUsageError(fmt.Errorf("serve: %w", err))
			}
			return a.withNode(cmd.Context(), a.nodeConfig(addrs, local), func(n *cairn.Node) error {
				if err := a.serve(cmd.Context(), n, api, gateway); err != nil {
					return fmt.Errorf("serve: %w", err)
				}
				return nil
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&listen, "listen", nil, "listen for peers at this `address` (may be repeated; key swarm.listen)")
	addKeyFlags(cmd, flags)
	completeFlag(cmd, "routing", "auto", "client", "server", "accelerated", "delegated", "lan", "none")
	completeFlag(cmd, "provide", "roots", "entities", "all", "none")
	fl.StringVar(&api, "api", "", "serve the API at this `address`, too (key api.addr)")
	fl.StringVar(&gateway, "gateway", "", "serve the gateway at this `address` (key gateway.addr)")
	a.passphraseFlag(cmd)
	return cmd
}

// A readiness is what a daemon prints when it is ready.
type readiness struct {
	Path      string   `json:"path"`
	PeerID    string   `json:"peerId,omitempty"`
	Addresses []string `json:"addresses"`
	API       []string `json:"api"`
	Gateway   string   `json:"gateway,omitempty"`
}

// serve serves an open node until ctx ends, or a client asks for shutdown.
func (a *app) serve(ctx context.Context, n *cairn.Node, api, gateway string) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := newServers(stop)
	defer func() { err = errors.Join(err, s.close()) }()
	logger, err := a.logger()
	if err != nil {
		return err
	}
	handler := httpapi.NewServer(httpapi.Config{Agent: agent, Codes: control.Codes(), Logger: logger},
		control.Verbs(n, stop), kubo.Verbs(n, kubo.Config{Version: version, Commit: commit(), Shutdown: stop}))
	dir := n.Store().Dir()
	ready := readiness{Path: dir, Addresses: []string{}}

	socket, err := filepath.Abs(filepath.Join(dir, socketFile))
	if err != nil {
		return err
	}
	unix, err := httpapi.ListenUnix(socket)
	if err != nil {
		return err
	}
	defer os.Remove(socket)
	s.serve(unix, handler)
	ready.API = append(ready.API, "unix:"+socket)

	// A killed daemon left its file. The address may belong to another process now.
	if err := os.Remove(filepath.Join(dir, apiFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if l, err := listenTCP(api, "api"); err != nil {
		return err
	} else if l != nil {
		if err := writeAPIFile(dir, l.Addr()); err != nil {
			return errors.Join(err, l.Close())
		}
		defer os.Remove(filepath.Join(dir, apiFile))
		s.serve(l, handler)
		ready.API = append(ready.API, "http://"+l.Addr().String())
	}
	if l, err := listenTCP(gateway, "gateway"); err != nil {
		return err
	} else if l != nil {
		s.serve(l, n.Gateway())
		ready.Gateway = "http://" + l.Addr().String()
	}
	me, err := control.Identify.Do(ctx, control.Local(n), struct{}{})
	if err != nil {
		return err
	}
	ready.PeerID = me.PeerID.String()
	ready.Addresses = append(ready.Addresses, me.Addresses...)
	if err := a.showReady(ready); err != nil {
		return err
	}
	defer notify(a.env, "STOPPING=1")
	notify(a.env, "READY=1")
	<-ctx.Done()
	return nil
}

// showReady prints where the daemon listens.
func (a *app) showReady(ready readiness) error {
	rows := [][2]string{{"serving", ready.Path}, {"peer", ready.PeerID}}
	for _, addr := range ready.Addresses {
		rows = append(rows, [2]string{"swarm", addr})
	}
	for _, addr := range ready.API {
		rows = append(rows, [2]string{"api", addr})
	}
	if ready.Gateway != "" {
		rows = append(rows, [2]string{"gateway", ready.Gateway})
	}
	if addr := bestAddr(ready.Addresses); addr != "" {
		rows = append(rows, [2]string{"connect", "cairn connect " + addr}, [2]string{"sync", "cairn sync CID --from " + addr})
	}
	if !a.json {
		if err := a.showTable(8, rows); err != nil {
			return err
		}
	}
	if err := a.show(ready, "ready"); err != nil {
		return err
	}
	return a.out.Flush()
}

// bestAddr returns the address to show to other users: not loopback if there is
// another, and TCP, which passes most firewalls.
func bestAddr(addrs []string) (best string) {
	rank := -1
	for _, text := range addrs {
		m, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			continue
		}
		r := 0
		if !manet.IsIPLoopback(m) {
			r += 2
		}
		if strings.Contains(text, "/tcp/") && !strings.Contains(text, "/ws") {
			r++
		}
		if r > rank {
			best, rank = text, r
		}
	}
	return best
}

// servers are a daemon's HTTP servers.
type servers struct {
	failed  func() // called when one fails
	base    context.Context
	cut     context.CancelFunc
	all     []*http.Server
	running sync.WaitGroup

	mu  sync.Mutex // guards the following
	err error
}

func newServers(failed func()) *servers {
	s := &servers{failed: failed}
	s.base, s.cut = context.WithCancel(context.Background())
	return s
}

// serve serves at l, and closes it in the end.
func (s *servers) serve(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return s.base },
	}
	s.all = append(s.all, server)
	s.running.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.mu.Lock()
			s.err = errors.Join(s.err, err)
			s.mu.Unlock()
			s.failed()
		}
	})
}

// close ends all servers. Running requests get some time, and are cut off then.
func (s *servers) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var ending sync.WaitGroup
	for _, server := range s.all {
		ending.Go(func() {
			if server.Shutdown(ctx) != nil {
				s.cut()
				_ = server.Close() // its clients see the error
			}
		})
	}
	ending.Wait()
	s.cut()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// listenTCP listens at an address that checkAddr accepted. Nil: it is "off".
func listenTCP(addr, what string) (net.Listener, error) {
	if addr == "off" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, withHint(err, fmt.Sprintf("say --%s with another address, :0 for any port, or off", what))
	}
	return l, nil
}

// checkAddr checks the address of the API or the gateway.
func checkAddr(s string) error {
	if s == "off" {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is no address: say HOST:PORT, :PORT or off", s)
	}
	return nil
}

// checkListen checks the addresses of swarm.listen.
func checkListen(s string) error {
	_, _, err := listenAddrs(splitList(s))
	return err
}

// listenAddrs returns the multiaddrs of --listen, and reports whether all of them
// are on this machine only.
func listenAddrs(list []string) (addrs []string, local bool, err error) {
	local = true
	for _, s := range list {
		if s == "off" {
			if len(list) > 1 {
				return nil, false, errors.New(`--listen: "off" stands alone`)
			}
			return nil, false, nil
		}
		if port, found := strings.CutPrefix(s, ":"); found {
			if _, err := strconv.ParseUint(port, 10, 16); err != nil {
				return nil, false, fmt.Errorf("%q is no address to listen at: %q is no port", s, port)
			}
			for _, d := range cairn.DefaultListen() {
				addrs = append(addrs, strings.Replace(d, "/4001", "/"+port, 1))
			}
			local = false
			continue
		}
		m, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, false, fmt.Errorf("%q is no address to listen at: %w", s, err)
		}
		local = local && manet.IsIPLoopback(m)
		addrs = append(addrs, s)
	}
	return addrs, local && len(addrs) > 0, nil
}

// writeAPIFile writes the API's address to the file that Kubo's tools read.
func writeAPIFile(dir string, addr net.Addr) error {
	m, err := manet.FromNetAddr(addr)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, apiFile), true, 0o644, func(f *os.File) error {
		_, err := f.WriteString(m.String())
		return err
	})
}

// notify sends the daemon's state to systemd (sd_notify(3)), if systemd started
// it. Errors are ignored: nothing depends on it.
func notify(env func(string) (string, bool), state string) {
	path, _ := env("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
