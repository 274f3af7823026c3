package httpapi

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// admit reports whether a request may go on. If not, it has answered.
func (s *Server) admit(c *Call) bool {
	r := c.r
	if !s.hostAllowed(r) {
		c.refuse(http.StatusForbidden, errors.New("the API doesn't answer under that host name"))
		return false
	}
	if err := s.pageAllowed(r); err != nil {
		c.refuse(http.StatusForbidden, err)
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		h := c.w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", strings.Join([]string{streamOutput, chunkedOutput, ContentLength, StreamError}, ", "))
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "Content-Type, X-Requested-With")
			c.discardBody()
			c.begun = true
			c.w.WriteHeader(http.StatusNoContent)
			return false
		}
	}
	if r.Method != http.MethodPost {
		c.w.Header().Set("Allow", "POST")
		c.refuse(http.StatusMethodNotAllowed, errors.New("only POST is answered"))
		return false
	}
	return true
}

// hostAllowed refuses requests for a host name that an attacker made resolve to
// this machine (DNS rebinding). A Unix socket has no such names.
func (s *Server) hostAllowed(r *http.Request) bool {
	if overUnix(r) {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || slices.ContainsFunc(s.config.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	// The address at which the daemon listens.
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && at.Addr().Unmap() == ip.Unmap()
}

// pageAllowed refuses web pages that are not configured. Browsers name the page
// in the header Origin. A browser's request without one is recognized by other
// headers, and refused.
func (s *Server) pageAllowed(r *http.Request) error {
	h := r.Header
	if origin, sent := h["Origin"]; sent {
		if len(origin) == 1 && s.originAllowed(origin[0]) {
			return nil
		}
		return errors.New("pages of that origin may not use the API")
	}
	if referer := h.Get("Referer"); referer != "" {
		u, err := url.Parse(referer)
		if err != nil || !s.originAllowed(u.Scheme+"://"+u.Host) {
			return errors.New("pages of that origin may not use the API")
		}
		return nil
	}
	if strings.HasPrefix(h.Get("User-Agent"), "Mozilla") || h.Get("Sec-Fetch-Site") != "" {
		return errors.New("a browser's request needs the header Origin")
	}
	return nil
}

func (s *Server) originAllowed(origin string) bool {
	return slices.ContainsFunc(s.config.Origins, func(o string) bool { return strings.EqualFold(o, origin) })
}
