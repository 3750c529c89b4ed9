"""Running rewrites: who was rewritten, refused or unlike, and a legal graph after each."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from core import optional, passes, spec
from core.calls import PluginError
from core.command import UserError

T, D = "T", 4


def model(nodes="chain"):
    """y = relu(x @ w0) @ w1 + x, with `T` tokens of width 4."""
    x = ir.val("x_TD", ir.DataType.FLOAT, [T, D])
    rng = np.random.default_rng(0)
    w = [
        ir.val(f"w{i}_DD", const_value=ir.tensor(rng.random((D, D), np.float32), name=f"w{i}_DD"))
        for i in range(2)
    ]
    a = ir.node("MatMul", [x, w[0]], outputs=[ir.val("a_TD")])
    b = ir.node("Relu", a.outputs, outputs=[ir.val("b_TD")])
    c = ir.node("MatMul", [b.outputs[0], w[1]], outputs=[ir.val("c_TD")])
    d = ir.node("Add", [c.outputs[0], x], outputs=[ir.val("y_TD")])
    graph = ir.Graph(
        [x], [d.outputs[0]], nodes=[a, b, c, d], initializers=w, opset_imports={"": 24}, name="g"
    )
    return ir.Model(graph, ir_version=11)


def evaluate(built, x_TD):
    proto = ir.serde.serialize_model(built)
    return onnx.reference.ReferenceEvaluator(proto).run(None, {"x_TD": x_TD})[0]


class Double(RewriteRuleClassBase):
    """x @ w  ->  x @ (2 w), w constant and not refused."""

    def __init__(self, refused=()):
        super().__init__("test.double")
        self.refused = refused

    def pattern(self, op, x, w):
        return op.MatMul(x, w)

    def check(self, context, w, **_):
        result = MatchResult()
        if w.const_value is None:
            return result.fail("not a constant", w)
        if w.name in self.refused:
            return result.fail(f"{w.name} is listed", w)
        return result

    def rewrite(self, op, x, w):
        doubled = ir.tensor(w.const_value.numpy() * 2, name=f"{w.name}.double")
        return op.MatMul(x, op.initializer(doubled))


class RenameRelu(RewriteRuleClassBase):
    """relu(a @ b)  ->  custom::Nothing(a @ b)."""

    def __init__(self, op_type="Nothing", domain="custom"):
        super().__init__("test.rename")
        self.op_type, self.domain = op_type, domain

    def pattern(self, op, x):
        return op.Relu(x)

    def rewrite(self, op, x):
        return getattr(op, self.op_type)(x, _domain=self.domain)


class AddOfSigmoid(RewriteRuleClassBase):
    """sigmoid(x) + z  ->  x + z."""

    def __init__(self):
        super().__init__("test.sigmoid")

    def pattern(self, op, x, z):
        return op.Add(op.Sigmoid(x), z)

    def rewrite(self, op, x, z):
        return op.Add(x, z)


def test_rule_rewrites_and_reports():
    """Every product is rewritten, the old weights are gone, and the arithmetic is what it says."""
    before, after = model(), model()
    report = passes.run(Double(), after, "quant.test")
    assert report.rewritten == [("a_TD", "test.double"), ("c_TD", "test.double")]
    assert (report.refused, report.unlike) == ([], [])
    assert set(report.model.graph.initializers) == {"w0_DD.double", "w1_DD.double"}
    x_TD = np.random.default_rng(1).random((3, D), np.float32)
    wanted = 4 * (evaluate(before, x_TD) - x_TD) + x_TD
    np.testing.assert_allclose(evaluate(report.model, x_TD), wanted, rtol=1e-5)


def test_refused_and_unlike_are_told():
    """A node that check refuses is reported with the reason; one that differs, with where."""
    report = passes.run(Double(refused=("w1_DD",)), model(), "quant.test")
    assert report.refused == [("c_TD", "w1_DD is listed")]
    report = passes.run(optional(AddOfSigmoid()), model(), "engine.test")
    assert [node for node, _ in report.unlike] == ["y_TD"] and not report.required
    assert report.entry()["unlike"] == 1


def test_required_pass_that_changes_nothing():
    """The error gives the reasons of the nodes that were refused, or what the graph lacks."""
    with pytest.raises(passes.PassError, match="a_TD: w0_DD is listed; c_TD: w1_DD is listed"):
        passes.run(Double(refused=("w0_DD", "w1_DD")), model(), "quant.test")
    with pytest.raises(passes.PassError, match=r"test\.sigmoid changed nothing: y_TD: "):
        passes.run(AddOfSigmoid(), model(), "quant.test")
    built = model()
    passes.run(RenameRelu("Sigmoid", ""), built, "quant.test")
    with pytest.raises(passes.PassError, match="the graph has no Relu"):
        passes.run(RenameRelu(), built, "quant.test")
    with pytest.raises(passes.PassError, match="it found nothing to change"):
        passes.run(common.RemoveUnusedNodesPass(), model(), "quant.test")


def test_a_graph_without_outputs_is_illegal():
    """A pass that takes the outputs away is named, not the next one, which finds nothing left."""

    class NoOutputs(ir.passes.InPlacePass):
        def call(self, model):
            model.graph.outputs.clear()
            return ir.passes.PassResult(model, modified=True)

    said = r"after quant\.test: NoOutputs: the graph has no output"
    with pytest.raises(spec.SpecError, match=said):
        passes.run(NoOutputs(), model(), "quant.test")


def test_unknown_op_is_named():
    """A rewrite to an op that nobody knows names the pass, the node and the op."""
    said = r"after quant\.test: test\.rename: .* custom::Nothing"
    with pytest.raises(spec.SpecError, match=said):
        passes.run(RenameRelu(), model(), "quant.test")


def test_pass_reports_what_it_changed():
    """A pass that works in place is reported by the nodes that are new or read something else."""

    class Swap(ir.passes.InPlacePass):
        def call(self, model):
            node = next(node for node in model.graph if node.op_type == "Add")
            x, y = node.inputs
            node.replace_input_with(0, y)
            node.replace_input_with(1, x)
            return ir.passes.PassResult(model, True)

    report = passes.run(Swap(), model(), "attention.test")
    assert report.rewritten == [("y_TD", "ai.onnx::Add")] and report.name == "Swap"


@pytest.mark.parametrize("item", [object(), Double, [], "Double", [Double(), 3]])
def test_what_is_no_rewrite_is_refused(item):
    """An entry of `passes` that is no pass and no rule is named with its plugin."""
    with pytest.raises(PluginError, match=r"quant\.test: passes returned"):
        passes.run(item, model(), "quant.test")


def test_failing_rule_is_a_sentence():
    """An exception inside a rule names plugin, rule and exception."""

    class Breaks(Double):
        def rewrite(self, op, x, w):
            return {}["nothing"]

    with pytest.raises(PluginError, match=r"quant\.test: test\.double failed: KeyError"):
        passes.run(Breaks(), model(), "quant.test")


def test_kept_graphs_open_and_hold_no_weights(tmp_path):
    """dump keeps each graph as ONNX and text, in order, without the bytes of large weights."""
    built = model()
    large = ir.tensor(np.zeros((D, 400), np.float32), name="large_DF")
    value = ir.val("large_DF", const_value=large)
    built.graph.initializers["large_DF"] = value
    node = ir.node("MatMul", [built.graph.inputs[0], value], outputs=[ir.val("z_TF")])
    built.graph.append(node)
    built.graph.outputs.append(node.outputs[0])
    spec.verify(built, after="graph")
    passes.dump(built, tmp_path, "graph")
    passes.run(Double(refused=("large_DF",)), built, "quant.test", tmp_path)
    names = [f"{stem}.{end}" for stem in ("00-graph", "01-quant.test.test.double")
             for end in ("onnx", "txt")]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    kept = onnx.load(tmp_path / names[2], load_external_data=False)
    assert "w0_DD.double" in {tensor.name for tensor in kept.graph.initializer}
    assert (tmp_path / names[2]).stat().st_size < 2000
    assert "MatMul" in (tmp_path / names[3]).read_text()
    assert value.const_value is large


@pytest.mark.parametrize(
    ("harm", "part"),
    [
        ("dangling", "reads lost_TD, which nothing before it makes"),
        ("twice", "two values are called a_TD"),
        ("space", "a name has no white space"),
        ("idle", "no node reads the initializer idle"),
        ("order", "which nothing before it makes"),
        ("output", "nothing makes the graph output"),
        ("unknown", "neither standard at opset"),
    ],
)
def test_illegal_graphs(harm, part):
    """Each rule of the spec is enforced, and the sentence names what breaks it."""
    built = model()
    graph, nodes = built.graph, list(built.graph)
    if harm == "dangling":
        nodes[1].replace_input_with(0, ir.val("lost_TD", ir.DataType.FLOAT, [T, D]))
    elif harm == "twice":
        nodes[1].outputs[0].name = "a_TD"
    elif harm == "space":
        nodes[1].outputs[0].name = "b TD"
    elif harm == "idle":
        graph.initializers["idle"] = ir.val("idle", const_value=ir.tensor([1.0], name="idle"))
    elif harm == "order":
        graph.remove(nodes[0])
        graph.append(nodes[0])
    elif harm == "output":
        graph.outputs.append(ir.val("nobody", ir.DataType.FLOAT, [T]))
    elif harm == "unknown":
        graph.opset_imports[""] = 1000
    with pytest.raises(UserError, match=part) as error:
        spec.verify(built, after="the test")
    assert str(error.value).startswith("after the test: ")


def test_types_reach_every_value():
    """After verify every value has a type and a shape in words."""
    built = spec.verify(model(), after="the test")
    values = [value for node in built.graph for value in node.outputs]
    shapes = {value.name: [str(d) for d in value.shape] for value in values}
    assert shapes == {name: ["T", "4"] for name in ("a_TD", "b_TD", "c_TD", "y_TD")}
    assert all(node.outputs[0].dtype == ir.DataType.FLOAT for node in built.graph)
