"""Study: arms x seeds as one resumable job."""
