import torch

from ops.linear_basis import linear_basis


def test_is_the_matrix_product(rng: torch.Generator) -> None:
    weights, basis = torch.randn(5, 7, generator=rng), torch.randn(7, 1000, generator=rng)
    mean = torch.randn(1000, generator=rng).expand(5, -1)
    torch.testing.assert_close(linear_basis(weights, basis, mean), mean + weights @ basis, atol=1e-5, rtol=1e-5)
    double = linear_basis(weights.double(), basis.double(), mean.double())
    torch.testing.assert_close(double, mean.double() + weights.double() @ basis.double())


def test_a_row_is_the_same_to_the_last_bit_in_any_company(rng: torch.Generator) -> None:
    weights, basis = torch.randn(9, 100, generator=rng), torch.randn(100, 20_000, generator=rng)
    mean, gradient = torch.randn(9, 20_000, generator=rng), torch.randn(9, 20_000, generator=rng)
    alone, together = weights[4:5].clone().requires_grad_(), weights.clone().requires_grad_()
    one, all_rows = linear_basis(alone, basis, mean[4:5]), linear_basis(together, basis, mean)
    assert torch.equal(one[0], all_rows[4])
    (one_gradient,) = torch.autograd.grad(one, alone, gradient[4:5])
    (all_gradients,) = torch.autograd.grad(all_rows, together, gradient)
    assert torch.equal(one_gradient[0], all_gradients[4])


def test_gradients(rng: torch.Generator) -> None:
    basis, mean = torch.randn(3, 6, generator=rng).double(), torch.randn(2, 6, generator=rng).double()
    weights = torch.randn(2, 3, generator=rng).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: linear_basis(w, basis, mean), (weights,))
