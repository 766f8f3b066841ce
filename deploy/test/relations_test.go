package deploy

import (
	"encoding/json"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// expectServices checks that each Service has pods with its ports.
func (o *objects) expectServices() {
	o.t.Helper()
	for _, s := range of[*corev1.Service](o) {
		pods := o.selected(s.Spec.Selector)
		if len(pods) != 1 {
			o.t.Errorf("%s has the pods of %d workloads", describe(s), len(pods))
			continue
		}
		for _, p := range s.Spec.Ports {
			if !hasPort(pods[0].template.Spec.Containers[0], p.TargetPort) {
				o.t.Errorf("%s leads to port %v, which %s has not", describe(s), p.TargetPort.String(), pods[0].name)
			}
		}
		if admin := slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.TargetPort.StrVal == "admin" }); admin &&
			s.Spec.Type != "" && s.Spec.Type != corev1.ServiceTypeClusterIP {
			o.t.Errorf("%s shows the admin port to the world", describe(s))
		}
	}
}

// expectAvailable checks that a disruption budget leaves pods available, and that an autoscaler's target exists.
func (o *objects) expectAvailable() {
	o.t.Helper()
	least := make(map[string]int32)
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](o) {
		d := named[*appsv1.Deployment](o, h.Spec.ScaleTargetRef.Name)
		if d.Spec.Replicas != nil || h.Spec.MinReplicas == nil || *h.Spec.MinReplicas > h.Spec.MaxReplicas {
			o.t.Errorf("%s and %s both say how many, or %+v", describe(h), describe(d), h.Spec)
		}
		least[describe(d)] = *h.Spec.MinReplicas
		if b := h.Spec.Behavior; b == nil || b.ScaleDown == nil || *b.ScaleDown.StabilizationWindowSeconds < 300 {
			o.t.Errorf("%s scales down at once, and moves clients for nothing: %+v", describe(h), b)
		}
	}
	for _, s := range of[*ScaledObject](o) {
		d := named[*appsv1.Deployment](o, s.Spec.ScaleTargetRef.Name)
		if d.Spec.Replicas != nil || s.Spec.MinReplicaCount == nil || s.Spec.MaxReplicaCount == nil || least[describe(d)] != 0 {
			o.t.Errorf("%s and %s both say how many, or %+v", describe(s), describe(d), s.Spec)
			continue
		}
		least[describe(d)] = *s.Spec.MinReplicaCount
	}
	for _, w := range o.workloads() {
		if least[w.name] == 0 {
			least[w.name] = w.replicas
		}
		if least[w.name] == 0 {
			o.t.Errorf("neither replicas nor an autoscaler sets the number of pods of %s", w.name)
		}
	}
	for _, b := range of[*policyv1.PodDisruptionBudget](o) {
		pods := o.selected(b.Spec.Selector.MatchLabels)
		if len(pods) != 1 || b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntVal >= least[pods[0].name] || b.Spec.MaxUnavailable.IntVal < 1 {
			o.t.Errorf("%s: %+v for %+v", describe(b), b.Spec, least)
		}
	}
	for _, b := range of[*rbacv1.RoleBinding](o) {
		named[*rbacv1.Role](o, b.RoleRef.Name)
		for _, s := range b.Subjects {
			named[*corev1.ServiceAccount](o, s.Name)
		}
	}
}

// expectPolicies checks that a NetworkPolicy selects existing pods, and names their ports.
func (o *objects) expectPolicies() {
	o.t.Helper()
	for _, p := range of[*networkingv1.NetworkPolicy](o) {
		pods := o.selected(p.Spec.PodSelector.MatchLabels)
		if len(pods) != 1 || len(p.Spec.PolicyTypes) != 2 {
			o.t.Errorf("%s is for %d workloads, of types %v", describe(p), len(pods), p.Spec.PolicyTypes)
			continue
		}
		container, open := pods[0].template.Spec.Containers[0], make(map[string]bool)
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				open[port.Port.StrVal] = true
				if !hasPort(container, *port.Port) {
					o.t.Errorf("%s: %s has no port %s", describe(p), pods[0].name, port.Port)
				}
				if port.Port.StrVal == "admin" && len(rule.From) == 0 {
					o.t.Errorf("%s opens the admin port to all pods", describe(p))
				}
			}
			o.expectPeers(describe(p), rule.From)
		}
		for _, rule := range p.Spec.Egress {
			o.expectPeers(describe(p), rule.To)
		}
		for _, port := range container.Ports {
			if port.Name != "admin" && !open[port.Name] {
				o.t.Errorf("%s: port %s is unreachable", describe(p), port.Name)
			}
		}
	}
}

// expectPeers checks that pods of the same namespace that a rule names exist.
func (o *objects) expectPeers(policy string, peers []networkingv1.NetworkPolicyPeer) {
	o.t.Helper()
	for _, peer := range peers {
		if peer.PodSelector != nil && peer.NamespaceSelector == nil && len(o.selected(peer.PodSelector.MatchLabels)) != 1 {
			o.t.Errorf("%s is for pods %v, of which there are none", policy, peer.PodSelector.MatchLabels)
		}
	}
}

// expectRoutes checks that routes from outside lead to a Service, without a timeout that ends WebSockets.
func (o *objects) expectRoutes() {
	o.t.Helper()
	for _, i := range of[*networkingv1.Ingress](o) {
		for _, rule := range i.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				s := named[*corev1.Service](o, path.Backend.Service.Name)
				if !servicePort(s, intstr.FromString(path.Backend.Service.Port.Name)) {
					o.t.Errorf("%s leads to port %+v of %s", describe(i), path.Backend.Service.Port, describe(s))
				}
			}
		}
	}
	for _, r := range of[*gatewayv1.HTTPRoute](o) {
		for _, rule := range r.Spec.Rules {
			if t := rule.Timeouts; t != nil && (t.Request == nil || *t.Request != "0s") {
				o.t.Errorf("%s ends requests: %+v", describe(r), rule.Timeouts)
			}
			for _, b := range rule.BackendRefs {
				s := named[*corev1.Service](o, string(b.Name))
				if b.Port == nil || !servicePort(s, intstr.FromInt32(int32(*b.Port))) {
					o.t.Errorf("%s leads to port %v of %s", describe(r), b.Port, describe(s))
				}
			}
		}
	}
}

func servicePort(s *corev1.Service, port intstr.IntOrString) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.Port == port.IntVal
	})
}

// expectWatched checks the references of monitoring objects.
func (o *objects) expectWatched() {
	o.t.Helper()
	for _, m := range of[*monitoringv1.ServiceMonitor](o) {
		selector, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
		if err != nil {
			o.t.Fatal(err)
		}
		found := 0
		for _, s := range of[*corev1.Service](o) {
			if selector.Matches(labels.Set(s.Labels)) {
				found++
				if !servicePort(s, intstr.FromString(m.Spec.Endpoints[0].Port)) {
					o.t.Errorf("%s: %s has no port %s", describe(m), describe(s), m.Spec.Endpoints[0].Port)
				}
			}
		}
		if found != 1 {
			o.t.Errorf("%s is for %d Services, want one: an instance would be counted twice", describe(m), found)
		}
	}
	for _, m := range of[*monitoringv1.PodMonitor](o) {
		pods := o.selected(m.Spec.Selector.MatchLabels)
		if port := m.Spec.PodMetricsEndpoints[0].Port; len(pods) != 1 || port == nil || !hasPort(pods[0].template.Spec.Containers[0], intstr.FromString(*port)) {
			o.t.Errorf("%s is for the pods of %d workloads, or for a port that they have not", describe(m), len(pods))
		}
	}
	for _, r := range of[*monitoringv1.PrometheusRule](o) {
		n := 0
		for _, g := range r.Spec.Groups {
			n += len(g.Rules)
		}
		if n == 0 {
			o.t.Errorf("%s has no rule", describe(r))
		}
	}
	for _, c := range of[*corev1.ConfigMap](o) {
		for name, text := range c.Data {
			if strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)) {
				o.t.Errorf("%s: %s is no JSON", describe(c), name)
			}
		}
	}
}
